"""Rows with a `prompt`, alone or with one `completion`; each a string or a list of messages."""

from __future__ import annotations

from typing import Any

from instructgpt.data.formats.base import (
    Format,
    Row,
    RowError,
    filled_field,
    has,
    prompt_details,
    refuse_feedback,
)
from instructgpt.data.formats.conversation import Turns, check_answer, check_prompt, read_messages
from instructgpt.data.records import Demonstration, Message, Prompt


def read_turns(row: Row, key: str = "prompt") -> Turns:
    """The prompt's turns: a string is one user turn."""
    if isinstance(row.get(key), list):
        return check_prompt(read_messages(row[key], key))
    return (Message("user", filled_field(row, key)),)


def read_answer(value: Any, key: str) -> str:
    """One answer: a string, or a list of one assistant message."""
    if value is None:
        raise RowError(f"no {key!r}")
    if isinstance(value, str):
        return check_answer(value)
    turns = read_messages(value, key)
    if len(turns) != 1 or turns[0].role != "assistant":
        raise RowError(f"{key!r} is not one assistant message")
    return check_answer(turns[0].content)


def _prompt(row: Row) -> list[Prompt]:
    details = prompt_details(row, ("prompt", "completion"))
    return [Prompt(read_turns(row), **details)]


def _demonstration(row: Row) -> list[Demonstration]:
    refuse_feedback(row)
    answer = read_answer(row.get("completion"), "completion")
    return [Demonstration(_prompt(row)[0], answer)]


PROMPT_COMPLETION = Format(
    name="prompt_completion",
    shape="prompt, completion: strings or lists of messages",
    matches=lambda row: has(row, "prompt", str, list) and has(row, "completion"),
    parsers={Prompt: _prompt, Demonstration: _demonstration},
)

PROMPT_ONLY = Format(
    name="prompt",
    shape="prompt: a string or a list of messages",
    matches=lambda row: has(row, "prompt", str, list),
    parsers={Prompt: _prompt},
)
