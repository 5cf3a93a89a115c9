"""Open Assistant message trees: every user turn is a prompt, its sibling replies are ranked.

Ranks count from 0 for the best. A reply without a rank is left out of the ranking. A demonstration
is the reply that was ranked first, or the only one that was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from instructgpt.data.formats.base import Format, Omission, Row, RowError, has
from instructgpt.data.formats.conversation import (
    Turns,
    check_answer,
    check_candidates,
    check_prompt,
)
from instructgpt.data.records import Demonstration, Message, Prompt, Ranking

_ROLES = {"prompter": "user", "assistant": "assistant"}


class _Reply(NamedTuple):
    text: str
    rank: int | None


class _Question(NamedTuple):
    """A user turn with the conversation up to it, and what was answered."""

    prompt: Prompt
    replies: list[_Reply]


def _questions(row: Row) -> Iterator[_Question]:
    """Every user turn of the tree, parents before children."""
    waiting: list[tuple[Turns, Any]] = [((), row.get("prompt"))]
    while waiting:
        before, node = waiting.pop()
        message, children = _read_node(node)
        turns = (*before, message)
        kept = [child for child in children if not _is_withdrawn(child)]
        if message.role == "user":
            meta = {"tree": row.get("message_tree_id"), "lang": node.get("lang")}
            prompt = Prompt(check_prompt(turns), id=str(node.get("message_id", "")), meta=meta)
            yield _Question(prompt, [_read_reply(child) for child in kept])
        waiting += [(turns, child) for child in reversed(kept)]


def _read_node(node: Any) -> tuple[Message, list[Any]]:
    if not isinstance(node, dict) or not isinstance(node.get("text"), str):
        raise RowError("a message of the tree has no 'text'")
    role = node.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise RowError(f"a message of the tree has role {role!r}")
    replies = node.get("replies") or []
    if not isinstance(replies, list):
        raise RowError("'replies' is not a list")
    return Message(_ROLES[role], node["text"]), replies


def _read_reply(node: Any) -> _Reply:
    message, _below = _read_node(node)
    rank = node.get("rank")
    if rank is not None and (type(rank) is not int or rank < 0):
        raise RowError(f"rank {rank!r} is not a whole number from 0")
    return _Reply(message.content, rank)


def _is_withdrawn(node: Any) -> bool:
    """Deleted, or turned down in review."""
    return isinstance(node, dict) and (
        node.get("deleted") is True or node.get("review_result") is False
    )


def _ranking(question: _Question) -> Iterator[Ranking | Omission]:
    ranked = [reply for reply in question.replies if reply.rank is not None]
    if len(ranked) < len(question.replies) > 1:
        yield Omission("a reply without a rank")
    if len(ranked) > 1:
        completions = check_candidates([reply.text for reply in ranked])
        ranks = tuple(reply.rank + 1 for reply in ranked if reply.rank is not None)
        yield Ranking(question.prompt, completions, ranks)


def _demonstration(question: _Question) -> Iterator[Demonstration | Omission]:
    ranked = [reply for reply in question.replies if reply.rank is not None]
    if ranked or len(question.replies) == 1:
        best = min(ranked, key=lambda reply: reply.rank or 0) if ranked else question.replies[0]
        yield Demonstration(question.prompt, check_answer(best.text))
    elif question.replies:
        yield Omission("several replies and none has a rank")


def _prompt(question: _Question) -> Iterator[Prompt]:
    yield question.prompt


def _tree(row: Row, take: Callable[[_Question], Iterator[Any]], lacks: str) -> list[Any]:
    """What `take` makes of every user turn; a turn that cannot be used is an omission."""
    found: list[Any] = []
    for question in _questions(row):
        try:
            found += take(question)
        except RowError as error:
            found.append(Omission(f"a turn: {error}"))
    if all(isinstance(one, Omission) for one in found):
        raise RowError(lacks)
    return found


OPEN_ASSISTANT = Format(
    name="open_assistant",
    shape="prompt: {text, role, replies: [{text, role, rank, replies}, ...]}",
    matches=lambda row: has(row, "prompt", dict) and has(row["prompt"], "replies", list),
    parsers={
        Prompt: lambda row: _tree(row, _prompt, "no user turn"),
        Demonstration: lambda row: _tree(row, _demonstration, "no reply that was chosen"),
        Ranking: lambda row: _tree(row, _ranking, "no user turn with two ranked replies"),
    },
)
