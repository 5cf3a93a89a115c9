"""OpenAI messages: a whole dialogue in one list of {role, content}."""

from __future__ import annotations

from instructgpt.data.formats.base import (
    Format,
    Row,
    RowError,
    has,
    prompt_details,
    refuse_feedback,
)
from instructgpt.data.formats.conversation import (
    Turns,
    check_prompt,
    read_messages,
    split_dialogue,
)
from instructgpt.data.records import Demonstration, Prompt

_TOOLS = ("tools", "functions")


def _turns(row: Row) -> Turns:
    for key in _TOOLS:
        if row.get(key):
            raise RowError(f"{key!r}: conversations with tools cannot be read")
    return read_messages(row.get("messages"), "messages")


def _make_prompt(row: Row, turns: Turns) -> Prompt:
    return Prompt(turns, **prompt_details(row, ("messages", *_TOOLS)))


def _prompt(row: Row) -> list[Prompt]:
    turns = _turns(row)
    if turns and turns[-1].role == "assistant":
        turns = turns[:-1]
    return [_make_prompt(row, check_prompt(turns))]


def _demonstration(row: Row) -> list[Demonstration]:
    refuse_feedback(row)
    turns, answer = split_dialogue(_turns(row))
    return [Demonstration(_make_prompt(row, turns), answer)]


MESSAGES = Format(
    name="messages",
    shape="messages: [{role, content}, ...]",
    matches=lambda row: has(row, "messages", list),
    parsers={Prompt: _prompt, Demonstration: _demonstration},
)
