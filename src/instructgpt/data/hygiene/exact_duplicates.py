"""Records that say the same thing again: the same prompt and, where there are answers, the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from instructgpt.data.hygiene.wording import answers
from instructgpt.data.records import Ranking, Record
from instructgpt.data.splits import identity


class Repeated(NamedTuple):
    """Record `at` is the same as record `other`."""

    at: int
    other: int


def exact_duplicates(records: Sequence[Record]) -> list[Repeated]:
    """The records that repeat an earlier one; white space and case of a prompt do not count.

    A second answer to the same prompt is no repetition, nor is another labeler's ranking of the
    same answers: agreement is measured on those.
    """
    first: dict[tuple[object, ...], int] = {}
    found: list[Repeated] = []
    for index, record in enumerate(records):
        other = first.setdefault(_content(record), index)
        if other != index:
            found.append(Repeated(index, other))
    return found


def _content(record: Record) -> tuple[object, ...]:
    label = (record.ranks, record.labeler) if isinstance(record, Ranking) else ()
    return (type(record), identity(record), answers(record), *label)
