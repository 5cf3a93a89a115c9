"""What a config class can be told: one row per setting, for `--help`, the docs and flag parsing."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from instructgpt.config.base import Config

REQUIRED = "required"


@dataclass(frozen=True)
class Row:
    """One setting, or (type "section") the heading of the settings below it."""

    key: str
    type: str
    default: str
    doc: str


def describe(cls: type[Config]) -> list[Row]:
    """All settings of `cls` in order; nested ones have dotted keys and their parent's defaults.

    What an entry of a list or map may hold follows it, as `judges[ai].model`.
    """
    return list(_rows(cls, None, ""))


def setting_types(cls: type[Config], prefix: str = "") -> dict[str, Any]:
    """Dotted key -> type annotation of every setting and section of `cls`."""
    found: dict[str, Any] = {}
    for name, field in cls.model_fields.items():
        found[f"{prefix}{name}"] = field.annotation
        section = _section_class(field)
        if section is not None:
            found |= setting_types(section, f"{prefix}{name}.")
    return found


def without_none(annotation: Any) -> tuple[list[Any], bool]:
    """The members of a union without None, and whether None was one of them."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) not in (Union, types.UnionType):
        return [annotation], False
    members = list(get_args(annotation))
    rest = [member for member in members if member is not types.NoneType]
    return rest, len(rest) < len(members)


def _rows(cls: type[Config], instance: Config | None, prefix: str) -> Iterator[Row]:
    for name, field in cls.model_fields.items():
        key = f"{prefix}{name}"
        doc = " ".join((field.description or "").split())
        section = _section_class(field)
        if section is not None:
            yield Row(key, "section", "", doc)
            below = getattr(instance, name) if instance else field.default
            yield from _rows(section, below if isinstance(below, Config) else None, f"{key}.")
        else:
            yield Row(key, _type_text(field), _default_text(field, instance, name), doc)
            for entry in entry_classes(field.annotation):
                below = f"{key}[{_tag(entry)}]"
                yield Row(below, "section", "", inspect.getdoc(entry) or "")
                yield from _rows(entry, None, f"{below}.")


def _section_class(field: FieldInfo) -> type[Config] | None:
    annotation = field.annotation
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return annotation
    return None


def entry_classes(annotation: Any) -> Iterator[type[Config]]:
    """The configs that may stand in a list or as a value of a map."""
    for member in without_none(annotation)[0]:
        if get_origin(member) in (tuple, list, dict):
            for below in without_none(get_args(member)[-1 if get_origin(member) is dict else 0])[0]:
                if isinstance(below, type) and issubclass(below, Config):
                    yield below


def _tag(cls: type[Config]) -> str:
    """What `type` must say for an entry to be of this class, else the class's name."""
    kind = cls.model_fields.get("type")
    return str(get_args(kind.annotation)[0]) if kind is not None else cls.__name__


def _default_text(field: FieldInfo, instance: Config | None, name: str) -> str:
    if instance is None and field.is_required():
        return REQUIRED
    value = getattr(instance, name) if instance else field.get_default(call_default_factory=True)
    return _value_text(value)


def _value_text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Config):
        value = dict(value)
    if isinstance(value, dict):
        inside = ", ".join(f"{name}: {_value_text(item)}" for name, item in value.items())
        return f"{{{inside}}}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(_value_text(item) for item in value)}]"
    return str(value)


def _type_text(field: FieldInfo) -> str:
    limits = [
        f"{sign} {getattr(limit, attribute):g}"
        for limit in field.metadata
        for attribute, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
        if hasattr(limit, attribute)
    ]
    return " ".join([_annotation_text(field.annotation), ", ".join(limits)]).strip()


def _annotation_text(annotation: Any) -> str:
    members, _ = without_none(annotation)
    return " | ".join(_member_text(member) for member in members)


def _member_text(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(str(value) for value in args)
    if origin in (tuple, list):
        return f"list of {_annotation_text(args[0])}"
    if origin is dict:
        return f"map of {_annotation_text(args[1])}"
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return _tag(annotation)
    return getattr(annotation, "__name__", str(annotation))
