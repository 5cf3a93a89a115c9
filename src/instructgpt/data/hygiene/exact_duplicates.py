"""Records that say the same thing again: the same prompt and, where there are answers, the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from instructgpt.data.digests import first_of_equals, gather
from instructgpt.data.hygiene.wording import answers
from instructgpt.data.records import Ranking, Record
from instructgpt.data.splits import identity


class Repeated(NamedTuple):
    """Record `at` is the same as record `other`."""

    at: int
    other: int


def exact_duplicates(records: Iterable[Record]) -> list[Repeated]:
    """The records that repeat an earlier one; white space and case of a prompt do not count.

    A second answer to the same prompt is no repetition, nor is another labeler's ranking of the
    same answers: agreement is measured on those.
    """
    first = first_of_equals(gather(map(_content, records)))
    repeated = np.flatnonzero(first != np.arange(len(first)))
    return [Repeated(int(at), int(first[at])) for at in repeated]


def _content(record: Record) -> bytes:
    label = (record.ranks, record.labeler) if isinstance(record, Ranking) else ()
    content = (type(record).__name__, identity(record), answers(record), label)
    return hashlib.sha256(json.dumps(content).encode()).digest()
