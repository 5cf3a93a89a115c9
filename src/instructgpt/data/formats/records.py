"""Our own records in their JSON forms; what they say is taken as it is.

Samples of a policy may be empty or equal, so rankings of our own are not searched for that.
"""

from __future__ import annotations

from typing import Any

from instructgpt.data.formats.base import Format, Row, RowError, has
from instructgpt.data.formats.conversation import check_answer
from instructgpt.data.records import Demonstration, Document, Prompt, Ranking

_DOCUMENT_KEYS = {"text", "meta"}
_PROMPT_KEYS = {"prompt", "id", "user", "meta"}
_DEMONSTRATION_KEYS = _PROMPT_KEYS | {"prompt_meta", "completion", "labeler"}
_RANKING_KEYS = _PROMPT_KEYS | {"prompt_meta", "completions", "ranks", "labeler"}


def _matches(row: Row) -> bool:
    keys = set(row)
    if has(row, "text", str):
        return keys <= _DOCUMENT_KEYS
    if not has(row, "prompt", list):
        return False
    if "completions" in row:
        return keys <= _RANKING_KEYS
    if "completion" in row:
        return keys <= _DEMONSTRATION_KEYS and isinstance(row["completion"], str)
    return keys <= _PROMPT_KEYS


def _prompt(row: Row) -> list[Prompt]:
    if "completions" in row:
        return [ranking.prompt for ranking in _ranking(row)]
    if "completion" in row:
        return [_from_dict(Demonstration, row).prompt]
    return [_from_dict(Prompt, row)]


def _demonstration(row: Row) -> list[Demonstration]:
    demonstration: Demonstration = _from_dict(Demonstration, row)
    check_answer(demonstration.completion)
    return [demonstration]


def _ranking(row: Row) -> list[Ranking]:
    return [_from_dict(Ranking, row)]


def _document(row: Row) -> list[Document]:
    document: Document = _from_dict(Document, row)
    if not document.text.strip():
        raise RowError("empty 'text'")
    return [document]


def _from_dict(kind: Any, row: Row) -> Any:
    try:
        return kind.from_dict(row)
    except ValueError as error:
        raise RowError(str(error)) from error


RECORDS = Format(
    name="records",
    shape="our own JSON forms: text | prompt (messages) + completion | completions and ranks",
    matches=_matches,
    parsers={
        Prompt: _prompt,
        Demonstration: _demonstration,
        Ranking: _ranking,
        Document: _document,
    },
)
