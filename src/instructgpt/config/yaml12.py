"""YAML as people expect it (the 1.2 core schema), with the line on which every key was written.

PyYAML implements YAML 1.1, where `1e-5` is a string, `no` is False, `010` is 8 and `1:30` is 90.
Here only `true/false`, `null`, decimal integers and floats are anything but strings, and a key
that is written twice is an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from instructgpt.config.base import merge
from instructgpt.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """Values as somebody wrote them, and where: dotted key -> "file:line" or "--flag"."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)

    def overlay(self, other: Settings) -> Settings:
        """These settings with `other` laid over them; `other` wins."""
        return Settings(merge(self.values, other.values), {**self.origins, **other.origins})

    def section(self, key: str) -> Settings:
        """The settings below `key`, with keys relative to it."""
        values = self.values[key]
        prefix = f"{key}."
        origins = {
            k.removeprefix(prefix): v for k, v in self.origins.items() if k.startswith(prefix)
        }
        return Settings(values, origins)

    def origin(self, key: str) -> str | None:
        """Where `key`, or the nearest thing that contains it, was written; "" is the whole."""
        while key and key not in self.origins:
            key = key.rpartition(".")[0]
        return self.origins.get(key)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own class attribute)

    def construct_decimal(self, node: yaml.ScalarNode) -> int:
        return int(self.construct_scalar(node))


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:
        return True


_CORE_SCHEMA = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
}
for _tag, (_pattern, _first) in _CORE_SCHEMA.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _first
        )
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_decimal)


def read_yaml(path: Path) -> Settings:
    """The settings written in one YAML file; ConfigError with file and line when it is not one."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"cannot read {path}: it is not UTF-8 text") from None
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return Settings(origins={"": str(path)})
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{path}: expected `key: value` lines at the top")
        origins = _origins(node, str(path), loader)
        return Settings(loader.construct_document(node), {"": str(path), **origins})
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    finally:
        loader.dispose()


def parse_yaml_value(text: str) -> Any:
    """One value in flow style, as on a command line: `3`, `1e-5`, `true`, `[a, b]`."""
    return yaml.load(text, Loader=_Loader)


def dump_yaml(values: dict[str, Any]) -> str:
    """YAML text that `read_yaml` reads back to equal values; keys keep their order."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _origins(
    node: yaml.MappingNode, file: str, loader: _Loader, prefix: str = ""
) -> dict[str, str]:
    origins: dict[str, str] = {}
    for key_node, value_node in node.value:
        where = f"{file}:{key_node.start_mark.line + 1}"
        key = loader.construct_object(key_node)
        if not isinstance(key, str):
            raise ConfigError(f"{where}: a key must be a word, not {key!r}")
        dotted = f"{prefix}{key}"
        if dotted in origins:
            first = origins[dotted].rpartition(":")[2]
            raise ConfigError(f"{where}: key '{dotted}' is already set on line {first}")
        origins[dotted] = where
        if isinstance(value_node, yaml.MappingNode):
            origins |= _origins(value_node, file, loader, f"{dotted}.")
    return origins
