"""Pretraining text in JSON rows: one `text`, or a titled work in paragraphs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from instructgpt.data.formats.base import Format, Row, RowError, filled_field, has, other_fields
from instructgpt.data.records import Document

_HEADINGS = ("title", "chapter", "rhythmic")
_BODIES = ("paragraphs", "content")


def _text(row: Row) -> list[Document]:
    return [Document(filled_field(row, "text"), other_fields(row, ("text",)))]


def _work(row: Row) -> list[Document]:
    """One document per innermost body of text: its headings, then its paragraphs, line by line."""
    documents = [Document("\n".join(lines)) for lines in _lines(row)]
    if not documents:
        raise RowError("no text in 'paragraphs' or 'content'")
    return documents


def _lines(work: Row) -> Iterator[list[str]]:
    key = next((key for key in _BODIES if key in work), "paragraphs")
    body: Any = work.get(key)
    if isinstance(body, str):
        body = [body]
    if isinstance(body, list) and body and all(_is_work(part) for part in body):
        for part in body:
            yield from _lines(part)
    elif isinstance(body, list) and all(isinstance(part, str) for part in body):
        paragraphs = [part for part in body if part.strip()]
        headings = [work[key] for key in _HEADINGS if has(work, key, str) and work[key].strip()]
        if paragraphs:
            yield headings + paragraphs
    else:
        raise RowError(f"{key!r} is not text, a list of strings, or a list of such works")


def _is_work(value: Any) -> bool:
    return isinstance(value, dict) and any(key in value for key in _BODIES)


TEXT = Format(
    name="text",
    shape="text: one document",
    matches=lambda row: has(row, "text"),
    parsers={Document: _text},
)

WORK = Format(
    name="work",
    shape="title?, chapter?, paragraphs or content: strings, or further works",
    matches=lambda row: has(row, "paragraphs", list) or has(row, "content", str, list),
    parsers={Document: _work},
)
