"""What a format is: how its rows are recognised and what records they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]

Parser = Callable[[Row], list[Any]]
"""Reads one row into records of one kind; raises RowError when the row cannot be used.

Where only a part of the row cannot be used, an `Omission` stands among the records.
"""


class RowError(ValueError):
    """A row that cannot be used; the message is the reason, without file and row."""


@dataclass(frozen=True, slots=True)
class Omission:
    """A part of a row that could not be used, among the records that a parser gives."""

    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Format:
    """One shape of row that people bring.

    `matches` looks at keys and types only: a row of this shape with broken content matches, so
    that the parser can say what is wrong with it. `parsers` maps a record class to its parser.
    """

    name: str
    shape: str
    matches: Callable[[Row], bool]
    parsers: Mapping[type, Parser]


def text_field(row: Row, key: str, default: str | None = None) -> str:
    """The string at `key`; a missing or null key gives `default` where there is one."""
    value = row.get(key)
    if value is None and default is not None:
        return default
    if value is None:
        raise RowError(f"no {key!r}" if key not in row else f"{key!r} is null")
    if not isinstance(value, str):
        raise RowError(f"{key!r} is {type(value).__name__}, not a string")
    return value


def list_field(row: Row, key: str) -> list[Any]:
    """The list at `key`."""
    value = row.get(key)
    if not isinstance(value, list):
        raise RowError(
            f"{key!r} is {type(value).__name__}, not a list" if key in row else f"no {key!r}"
        )
    return value


def filled_field(row: Row, key: str) -> str:
    """The string at `key`, which must hold more than white space."""
    value = text_field(row, key)
    if not value.strip():
        raise RowError(f"empty {key!r}")
    return value


def prompt_details(row: Row, used: Iterable[str]) -> dict[str, Any]:
    """`id`, `user` and `meta` of a prompt; keys that the format does not use become its meta."""
    known = set(used)
    details: dict[str, Any] = {"meta": other_fields(row, known | {"id", "user"})}
    for key in ("id", "user"):
        if has(row, key, str):
            details[key] = row[key]
        elif has(row, key) and key not in known:
            details["meta"][key] = row[key]
    return details


def other_fields(row: Row, used: Iterable[str]) -> dict[str, Any]:
    """What the row holds beyond the keys in `used`; its own `meta` object is unpacked."""
    rest = {key: value for key, value in row.items() if key not in set(used)}
    if has(row, "meta", dict):
        return {**rest.pop("meta"), **rest}
    return rest


def refuse_feedback(row: Row) -> None:
    """Unpaired feedback marks an answer good or bad; it is not a demonstration."""
    if has(row, "kto_tag") or has(row, "label", bool):
        raise RowError("unpaired good/bad feedback ('label') is not a demonstration")


def has(row: Row, key: str, *types: type) -> bool:
    """Whether the row has `key` with a value of one of `types` (any value if none is given)."""
    return key in row and (not types or isinstance(row[key], types))
