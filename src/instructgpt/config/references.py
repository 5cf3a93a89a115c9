"""'@stage/path': a file in the run directory of another stage of the same recipe."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_REFERENCE = re.compile(r"@(?P<stage>[^/]+)(?:/(?P<path>.*))?")


def find_references(value: Any, key: str = "") -> Iterator[tuple[str, str, str]]:
    """(dotted key, stage name, path) of every '@stage/path' in a tree of settings."""
    if isinstance(value, str):
        match = _REFERENCE.fullmatch(value)
        if match:
            yield key, match["stage"], match["path"] or ""
    elif isinstance(value, Mapping):
        for name, below in value.items():
            yield from find_references(below, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for below in value:
            yield from find_references(below, key)


def resolve_references(value: Any, root: Path) -> Any:
    """`value` with every '@stage/path' replaced by the path `root`/stage/path."""
    if isinstance(value, str):
        match = _REFERENCE.fullmatch(value)
        return str(root / match["stage"] / (match["path"] or "")) if match else value
    if isinstance(value, Mapping):
        return {name: resolve_references(below, root) for name, below in value.items()}
    if isinstance(value, list | tuple):
        return [resolve_references(below, root) for below in value]
    return value
