"""Unpaired feedback: one answer to a prompt, and whether people found it good or bad.

The answers that were found good are demonstrations. A bad one has nothing to be compared with.
"""

from __future__ import annotations

from typing import Any

from instructgpt.data.formats.alpaca import ALPACA
from instructgpt.data.formats.base import Format, Row, RowError, has
from instructgpt.data.formats.messages import MESSAGES, SHAREGPT
from instructgpt.data.formats.prompt_completion import PROMPT_COMPLETION
from instructgpt.data.records import Demonstration, Prompt

_LABELS = ("label", "kto_tag")
_SHAPES = (MESSAGES, SHAREGPT, PROMPT_COMPLETION, ALPACA)


def _unlabeled(row: Row) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in _LABELS}


def _parse(row: Row, kind: type) -> list[Any]:
    shape = next((shape for shape in _SHAPES if shape.matches(row)), None)
    if shape is None:
        raise RowError("no answer beside the label")
    return shape.parsers[kind](_unlabeled(row))


def _prompt(row: Row) -> list[Prompt]:
    return _parse(row, Prompt)


def _demonstration(row: Row) -> list[Demonstration]:
    label = next((row[key] for key in _LABELS if key in row), None)
    if not isinstance(label, bool):
        raise RowError("the label is not true (good) or false (bad)")
    if not label:
        raise RowError("labelled bad, so nothing to imitate")
    return _parse(row, Demonstration)


def _matches(row: Row) -> bool:
    labelled = any(has(row, key, bool) for key in _LABELS)
    return labelled and any(shape.matches(row) for shape in _SHAPES)


UNPAIRED = Format(
    name="unpaired",
    shape="an answer as in messages, sharegpt, prompt_completion or alpaca, and label: true (good)",
    matches=_matches,
    parsers={Prompt: _prompt, Demonstration: _demonstration},
)
