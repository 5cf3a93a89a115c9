"""Configs from defaults < YAML files, left to right < flags; errors name the key and its place.

    config = load_config(SFTConfig, [Path("my.yaml")], ["--optim.lr", "1e-5", "epochs=2"])

Nothing else is a source: no environment variable, no file that was not named. In the config.yaml
of a run directory '@base/model' means the directory's sibling `base`, so that it can be run again.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import ValidationError
from yaml import YAMLError

from instructgpt.config.base import Config
from instructgpt.config.describe import entry_classes, setting_types, without_none
from instructgpt.config.references import find_references, resolve_references
from instructgpt.config.yaml12 import Settings, dump_yaml, parse_yaml_value, read_yaml
from instructgpt.errors import ConfigError

ConfigT = TypeVar("ConfigT", bound=Config)

_ASSIGNMENT = re.compile(r"[A-Za-z_][\w.-]*=")


@dataclass(frozen=True)
class Flag:
    """One setting from a command line; `text` is None for a bare `--key`."""

    key: str
    text: str | None
    written: str


def load_config(
    cls: type[ConfigT], files: Iterable[Path] = (), flags: Sequence[str] = ()
) -> ConfigT:
    """The config that defaults, then `files` in order, then `flags` make; else ConfigError."""
    settings = Settings()
    for path in files:
        written = read_yaml(path)
        if (path.parent / "manifest.json").exists():
            values = resolve_references(written.values, path.parent.parent)
            written = Settings(values, written.origins)
        settings = settings.overlay(written)
    config = build(cls, settings.overlay(flag_settings(cls, split_flags(flags))))
    for key, stage, below in find_references(config.model_dump()):
        raise ConfigError(f"{key}: '@{stage}/{below}' names a stage of a recipe; give a path here")
    return config


def build(
    cls: type[ConfigT], settings: Settings, prefix: str = "", *, flags: bool = True
) -> ConfigT:
    """`settings` validated as a `cls`; ConfigError of one line for everything that is wrong.

    `prefix` is what stands before each key on the command line ("sft." in a recipe), `flags`
    whether it can be given there.
    """
    try:
        return cls.model_validate(settings.values)
    except ValidationError as invalid:
        problems: dict[str, str] = {}
        for error in invalid.errors(include_url=False):
            key = ".".join(_written_path(error["loc"], settings.values))
            problems.setdefault(key, _explain(cls, key, error, settings, prefix, flags))
        raise ConfigError("; ".join(problems.values())) from None


def dump_config(config: Config) -> str:
    """The resolved config as YAML; a run from this text alone is the same run."""
    return dump_yaml(config.model_dump(mode="json"))


def split_flags(tokens: Sequence[str]) -> list[Flag]:
    """`--key value`, `--key=value`, `key=value` and bare `--key` taken apart; `-` reads as `_`.

    What looks like `key=value` is never the value of the flag before it; write `--flag=a=b`.
    """
    flags: list[Flag] = []
    rest = list(tokens)
    while rest:
        token = rest.pop(0)
        key, equals, text = token.removeprefix("--").partition("=")
        if not token.startswith("--") and not equals:
            raise ConfigError(f"cannot read '{token}': write settings as --key value or key=value")
        name = key.replace("-", "_")
        if equals:
            flags.append(Flag(name, text, token.partition("=")[0]))
        elif rest and not rest[0].startswith("--") and not _ASSIGNMENT.match(rest[0]):
            flags.append(Flag(name, rest.pop(0), token))
        else:
            flags.append(Flag(name, None, token))
    return flags


def flag_settings(cls: type[Config], flags: Iterable[Flag]) -> Settings:
    """Flags as settings of `cls`; a flag repeated for a list adds to the list."""
    known = setting_types(cls)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for flag in flags:
        path, annotation = _locate(flag, known)
        value = _flag_value(annotation, flag)
        section = values
        for parent in path[:-1]:
            section = section.setdefault(parent, {})
        if flag.key in origins and _is_open_list(annotation):
            value = [*section[path[-1]], *value]
        section[path[-1]] = value
        origins[flag.key] = flag.written
    return Settings(values, origins)


def did_you_mean(name: str, known: Collection[str]) -> str:
    """`; did you mean 'optim.lr'?`, or an empty string when nothing is near."""
    last = name.rpartition(".")[2]
    same_end = [key for key in known if key.rpartition(".")[2] == last]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    near_end = [
        key
        for end in difflib.get_close_matches(last, {k.rpartition(".")[2] for k in known}, n=1)
        for key in known
        if key.rpartition(".")[2] == end
    ]
    found = [*same_end, *near, *near_end]
    return f"; did you mean '{found[0]}'?" if found else ""


def _locate(flag: Flag, known: Mapping[str, Any]) -> tuple[list[str], Any]:
    """Path and type of what a flag sets: a setting, or an entry of a setting that is a map."""
    if flag.key in known:
        return flag.key.split("."), known[flag.key]
    for key, annotation in known.items():
        if get_origin(annotation) is dict and flag.key.startswith(f"{key}."):
            return [*key.split("."), flag.key.removeprefix(f"{key}.")], get_args(annotation)[1]
    raise ConfigError(f"{flag.written}: unknown setting{did_you_mean(flag.key, known)}")


def _flag_value(annotation: Any, flag: Flag) -> Any:
    members, optional = without_none(annotation)
    if flag.text is None:
        if bool in members:
            return True
        raise ConfigError(f"{flag.written}: needs a value, as {flag.written}=VALUE")
    if optional and flag.text.lower() in ("none", "null"):
        return None
    if all(_is_text(member) for member in members):
        return flag.text
    text = flag.text
    if any(get_origin(member) in (tuple, list) for member in members) and not text.startswith("["):
        if any(_is_open_list(member) and _is_text(get_args(member)[0]) for member in members):
            return [text]
        text = f"[{text}]"
    try:
        return parse_yaml_value(text)
    except YAMLError:
        raise ConfigError(f"{flag.written}: cannot read the value '{flag.text}'") from None


def _is_text(annotation: Any) -> bool:
    if get_origin(annotation) is Literal:
        return all(isinstance(value, str) for value in get_args(annotation))
    return annotation in (str, Path)


def _is_open_list(annotation: Any) -> bool:
    """Whether any number of values may be given: list[X] or tuple[X, ...]."""
    members, _ = without_none(annotation)
    return any(
        get_origin(member) is list
        or (get_origin(member) is tuple and get_args(member)[-1:] == (Ellipsis,))
        for member in members
    )


def _written_path(loc: Sequence[str | int], values: Any) -> list[str]:
    """The part of an error's location that the user wrote; the rest names pydantic's union arms."""
    path: list[str] = []
    for depth, part in enumerate(loc, 1):
        if isinstance(values, Mapping):
            if part not in values and (depth < len(loc) or part == values.get("type")):
                continue  # the arm of a union, such as the type of a judge
            values = values.get(str(part))
        elif isinstance(values, list | tuple) and isinstance(part, int) and part < len(values):
            values = values[part]
        else:
            break
        path.append(str(part))
    return path


def _explain(
    cls: type[Config],
    key: str,
    error: Mapping[str, Any],
    settings: Settings,
    prefix: str,
    flags: bool,
) -> str:
    origin = settings.origin(key)
    start = f"{origin}: " if origin else ""
    if error["type"] == "missing":
        as_flag = f" or as --{prefix}{key}" if flags and key in setting_types(cls) else ""
        return f"{start}'{prefix}{key}' is required; give it in a YAML file{as_flag}"
    if error["type"] == "extra_forbidden":
        known = [*setting_types(cls), *_entry_keys(cls, key)]
        return f"{start}unknown key '{key}'{did_you_mean(key, known)}"
    shown = f"{prefix}{key}: " if key and not _is_flag_for(origin, prefix + key) else ""
    if error["type"] == "value_error":
        return f"{start}{shown}{error['ctx']['error']}"
    message = error["msg"][0].lower() + error["msg"][1:]
    return f"{start}{shown}{message}, got {_shorten(error['input'])}"


def _entry_keys(cls: type[Config], key: str) -> list[str]:
    """What could stand beside `key` in an entry of a list or map: judges.0.model, ..."""
    annotation = setting_types(cls).get(key.partition(".")[0])
    entry = key.rpartition(".")[0]
    return [f"{entry}.{name}" for below in entry_classes(annotation) for name in below.model_fields]


def _is_flag_for(origin: str | None, key: str) -> bool:
    return origin is not None and origin.removeprefix("--").replace("-", "_") == key


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
