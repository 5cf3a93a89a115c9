"""Turns: reading lists of messages, and what a conversation must be before it is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from instructgpt.data.formats.base import RowError
from instructgpt.data.records import Message

Turns = tuple[Message, ...]


def read_messages(value: Any, key: str) -> Turns:
    """A list of {"role", "content"} objects with string contents and no other fields."""
    if not isinstance(value, list):
        raise RowError(f"{key!r} is {type(value).__name__}, not a list of messages")
    turns = []
    for number, message in enumerate(value, start=1):
        try:
            turns.append(Message.from_dict(message))
        except ValueError as error:
            raise RowError(f"message {number} of {key!r}: {error}") from error
    return tuple(turns)


def check_prompt(turns: Turns) -> Turns:
    """Return `turns` if they can be answered.

    At most one system turn, first; then user and assistant alternate, none of them empty, and the
    user has the last word.
    """
    dialogue = turns[1:] if turns and turns[0].role == "system" else turns
    if not any(turn.role == "user" for turn in dialogue):
        raise RowError("no user turn")
    for index, turn in enumerate(dialogue):
        expected = "user" if index % 2 == 0 else "assistant"
        if turn.role != expected:
            number = index + 1 + len(turns) - len(dialogue)
            raise RowError(f"turn {number} is {turn.role!r} where {expected!r} should speak")
        if not turn.content.strip():
            raise RowError(f"empty {turn.role} turn")
    if dialogue[-1].role != "user":
        raise RowError("the prompt does not end with a user turn")
    return turns


def split_dialogue(turns: Turns) -> tuple[Turns, str]:
    """A finished dialogue as (prompt turns, final answer)."""
    if not any(turn.role == "user" for turn in turns):
        raise RowError("no user turn")
    if turns[-1].role != "assistant":
        raise RowError("the dialogue does not end with an assistant turn")
    return check_prompt(turns[:-1]), check_answer(turns[-1].content)


def check_answer(text: str) -> str:
    """Return `text` if it holds more than white space."""
    if not text.strip():
        raise RowError("empty final answer")
    return text


def check_candidates(answers: Sequence[str]) -> tuple[str, ...]:
    """Return the ranked answers if there are at least 2, none empty and no two the same."""
    if len(answers) < 2:
        raise RowError(f"{len(answers)} answer(s) to rank; a ranking needs at least 2")
    for answer in answers:
        check_answer(answer)
    if len({answer.strip() for answer in answers}) < len(answers):
        raise RowError("duplicate answers in one ranking")
    return tuple(answers)
