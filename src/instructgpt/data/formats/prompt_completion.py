"""Rows with a `prompt`, alone or with one `completion`; each a string or a list of messages.

A pair may also be called question and answer, or query and response. A `prompt` with an `answer`
is a prompt alone: such an answer is what a checker compares with, and stays in the prompt's meta.
"""

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
from instructgpt.data.formats.conversation import (
    Turns,
    check_answer,
    check_prompt,
    read_messages,
    without_weights,
)
from instructgpt.data.records import Demonstration, Message, Prompt

_CANONICAL = ("prompt", "completion")
_PAIRS = (
    _CANONICAL,
    ("prompt", "response"),
    ("question", "answer"),
    ("question", "response"),
    ("query", "response"),
    ("query", "answer"),
)


def read_turns(row: Row, key: str = "prompt") -> Turns:
    """The prompt's turns: a string is one user turn."""
    if isinstance(row.get(key), list):
        return check_prompt(without_weights(read_messages(row[key], key)))
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


def _keys(row: Row) -> tuple[str, str]:
    """Where prompt and completion stand; both names of one thing in a row are not guessed at."""
    found = [pair for pair in _PAIRS if pair[0] in row and pair[1] in row]
    if not found or found[0] == _CANONICAL:
        return _CANONICAL
    if len(found) > 1:
        names = sorted({name for pair in found for name in pair})
        raise RowError(
            f"has {', '.join(map(repr, names))}; name prompt and completion with columns"
        )
    return found[0]


def _prompt(row: Row) -> list[Prompt]:
    keys = _keys(row)
    return [Prompt(read_turns(row, keys[0]), **prompt_details(row, keys))]


def _prompt_alone(row: Row) -> list[Prompt]:
    return [Prompt(read_turns(row), **prompt_details(row, ("prompt",)))]


def _demonstration(row: Row) -> list[Demonstration]:
    refuse_feedback(row)
    key = _keys(row)[1]
    answer = read_answer(row.get(key), key)
    return [Demonstration(_prompt(row)[0], answer)]


def _matches(row: Row) -> bool:
    return any(has(row, prompt, str, list) and has(row, answer) for prompt, answer in _PAIRS)


PROMPT_COMPLETION = Format(
    name="prompt_completion",
    shape="prompt, completion (or question, answer; query, response): strings or message lists",
    matches=_matches,
    parsers={Prompt: _prompt, Demonstration: _demonstration},
)

PROMPT_ONLY = Format(
    name="prompt",
    shape="prompt: a string or a list of messages",
    matches=lambda row: has(row, "prompt", str, list),
    parsers={Prompt: _prompt_alone},
)
