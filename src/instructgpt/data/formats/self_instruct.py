"""Self-Instruct seed tasks: an instruction and several instances of it, each a demonstration."""

from __future__ import annotations

from typing import Any

from instructgpt.data.formats.alpaca import ALPACA
from instructgpt.data.formats.base import Format, Omission, Row, RowError, has, list_field
from instructgpt.data.records import Demonstration, Prompt


def _instances(row: Row, kind: type) -> list[Any]:
    """One record per instance; an instance that cannot be used is an omission."""
    common = {key: value for key, value in row.items() if key != "instances"}
    found: list[Any] = []
    for instance in list_field(row, "instances"):
        if not isinstance(instance, dict):
            raise RowError("'instances' is not a list of objects")
        try:
            found += ALPACA.parsers[kind]({**common, **instance})
        except RowError as error:
            found.append(Omission(f"an instance: {error}"))
    if not any(isinstance(one, kind) for one in found):
        raise RowError(found[0].reason if found else "empty 'instances'")
    return found


SELF_INSTRUCT = Format(
    name="self_instruct",
    shape="instruction, instances: [{input, output}, ...]",
    matches=lambda row: has(row, "instruction", str) and has(row, "instances", list),
    parsers={
        Prompt: lambda row: _instances(row, Prompt),
        Demonstration: lambda row: _instances(row, Demonstration),
    },
)
