"""Turns: reading lists of messages, and what a conversation must be before it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from instructgpt.data.formats.base import RowError
from instructgpt.data.records import Message

Turns = tuple[Message, ...]

_SPEAKERS = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
}
_TOOL_SPEAKERS = ("tool", "function", "function_call", "tool_call", "observation", "ipython")
_TOOL_FIELDS = ("tool_calls", "function_call", "tool_call_id")
_WEIGHTS = ("weight", "loss_weight")


def read_messages(value: Any, key: str) -> Turns:
    """A list of messages, each {"role", "content"} or ShareGPT's {"from", "value"}.

    A content is a string or a list of text parts. `weight` (or `loss_weight`) 0 on an assistant
    turn keeps it out of the loss; a field that says something else is refused.
    """
    if not isinstance(value, list):
        raise RowError(f"{key!r} is {type(value).__name__}, not a list of messages")
    turns = []
    for number, message in enumerate(value, start=1):
        try:
            turns.append(_read_message(message))
        except ValueError as error:
            raise RowError(f"message {number} of {key!r}: {error}") from error
    return tuple(turns)


def _read_message(data: Any) -> Message:
    if not isinstance(data, Mapping):
        return Message.from_dict(data)
    fields = {key: value for key, value in data.items() if value not in (None, [])}
    fields |= {key: data[key] for key in ("role", "content", "from", "value") if key in data}
    if "from" in fields and "role" not in fields:
        fields["role"] = fields.pop("from")
        if "value" in fields and "content" not in fields:
            fields["content"] = fields.pop("value")
    role = fields.get("role")
    tool = next((key for key in _TOOL_FIELDS if key in fields), None)
    if tool or role in _TOOL_SPEAKERS:
        raise ValueError(f"{tool or role!r}: conversations with tools cannot be read")
    if isinstance(role, str):
        fields["role"] = role = _SPEAKERS.get(role, role)
    if isinstance(fields.get("content"), list):
        fields["content"] = "".join(_text_of(part) for part in fields["content"])
    for key in _WEIGHTS:
        if key in fields:
            fields["weight"] = _weight(fields.pop(key), str(role))
    return Message.from_dict(fields)


def _text_of(part: Any) -> str:
    """The text of one part: {"type": "text", "text": ...}, or with LLaMA-Factory's "value"."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind != "text":
        raise ValueError(
            f"a content part is {kind or type(part).__name__!r}; only text can be read"
        )
    text = part.get("text", part.get("value"))
    if not isinstance(text, str):
        raise ValueError("a text part of the content holds no string")
    return text


def _weight(value: Any, role: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value not in (0, 1):
        raise ValueError(f"weight {value!r}; only 0 and 1 can be used")
    if role == "assistant":
        return int(value)
    if value:
        raise ValueError(f"weight 1 on a {role!r} turn; only what the assistant says is learned")
    return 1  # nothing of this turn is ever learned


def without_weights(turns: Turns) -> Turns:
    """The turns where no loss is taken of them: prompts and rankings."""
    return tuple(turn if turn.weight else replace(turn, weight=1) for turn in turns)


def learned_part(turns: Turns) -> Turns:
    """The dialogue up to the last assistant turn that is learned; no loss depends on the rest."""
    if not turns or turns[-1].weight:
        return turns
    learned = [i for i, turn in enumerate(turns) if turn.role == "assistant" and turn.weight]
    if not learned:
        raise RowError("every assistant turn has weight 0")
    return turns[: learned[-1] + 1]


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


def open_dialogue(turns: Turns) -> Turns:
    """The prompt of a dialogue that may or may not be answered yet."""
    plain = without_weights(turns)
    return check_prompt(plain[:-1] if plain and plain[-1].role == "assistant" else plain)


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


def ranks_of_scores(scores: Sequence[Any]) -> tuple[int, ...]:
    """Ranks from 1 for the highest score; equal scores are a tie."""
    order = sorted(set(scores), reverse=True)
    return tuple(order.index(score) + 1 for score in scores)
