"""The base of every config: frozen, closed to unknown keys, documented field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator


class Config(BaseModel):
    """A typed group of settings.

    Instances cannot be changed, unknown keys are refused, and the string below a field is its
    documentation (shown by `--help` and by the generated configuration pages). A section is a
    field whose type is another `Config` and whose default is an instance of it; a section given
    in part keeps the rest of that instance, not of its class.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        protected_namespaces=(),
    )

    not_inputs: ClassVar[frozenset[str]] = frozenset()
    """Fields whose value is never a path that decides results, even where such a file exists."""

    @model_validator(mode="before")
    @classmethod
    def _complete_sections(cls, values: Any) -> Any:
        # pydantic alone would fill a partly given section from the section's own class defaults
        # and lose the ones its parent chose, such as PPO's constant schedule.
        if not isinstance(values, Mapping):
            return values
        completed = dict(values)
        for name, field in cls.model_fields.items():
            given = completed.get(name)
            if isinstance(field.default, Config) and isinstance(given, Mapping):
                completed[name] = merge(field.default.model_dump(), given)
        return completed


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, key by key into nested mappings; neither is modified."""
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = merge(below, value)
        merged[key] = value
    return merged
