"""A whole dialogue in one list: OpenAI's `messages`, or ShareGPT's `conversations`."""

from __future__ import annotations

from collections.abc import Callable

from instructgpt.data.formats.base import (
    Format,
    Parser,
    Row,
    RowError,
    has,
    prompt_details,
    refuse_feedback,
    text_field,
)
from instructgpt.data.formats.conversation import (
    Turns,
    learned_part,
    open_dialogue,
    read_messages,
    split_dialogue,
)
from instructgpt.data.records import Demonstration, Message, Prompt

_TOOLS = ("tools", "functions")


def read_dialogue(row: Row, key: str) -> Turns:
    """The turns at `key`, after the row's own `system` where it has one."""
    for tools in _TOOLS:
        if row.get(tools):
            raise RowError(f"{tools!r}: conversations with tools cannot be read")
    system = text_field(row, "system", default="")
    turns = read_messages(row.get(key), key)
    return (Message("system", system), *turns) if system else turns


def _parsers(key: str) -> dict[type, Parser]:
    def prompt(row: Row) -> list[Prompt]:
        return [_make_prompt(row, open_dialogue(read_dialogue(row, key)))]

    def demonstration(row: Row) -> list[Demonstration]:
        refuse_feedback(row)
        turns, answer = split_dialogue(learned_part(read_dialogue(row, key)))
        return [Demonstration(_make_prompt(row, turns), answer)]

    def _make_prompt(row: Row, turns: Turns) -> Prompt:
        return Prompt(turns, **prompt_details(row, (key, "system", *_TOOLS)))

    return {Prompt: prompt, Demonstration: demonstration}


def _holds(key: str) -> Callable[[Row], bool]:
    return lambda row: has(row, key, list)


MESSAGES = Format(
    name="messages",
    shape="messages: [{role, content, weight?}, ...]",
    matches=_holds("messages"),
    parsers=_parsers("messages"),
)

SHAREGPT = Format(
    name="sharegpt",
    shape="conversations: [{from, value}, ...], system?",
    matches=_holds("conversations"),
    parsers=_parsers("conversations"),
)
