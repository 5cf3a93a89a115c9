"""Prompts that share a long common prefix (paper 3.2, A.2), such as a template filled in anew."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple

from instructgpt.data.digests import first_of_equals, gather
from instructgpt.data.hygiene.wording import words


class SharedPrefix(NamedTuple):
    """Text `at` begins as text `other` does, for `length` words or Chinese characters."""

    at: int
    other: int
    length: int


def prefix_duplicates(texts: Sequence[str], min_length: int) -> Iterator[SharedPrefix]:
    """The texts that share their first `min_length` words with an earlier one; shorter ones never.

    To share that many is an equivalence, so one look per text finds what sorting would. Texts are
    read once, and those that are found a second time.
    """
    long_ones = array("q")

    def prefixes() -> Iterator[bytes]:
        for index, text in enumerate(texts):
            own = words(text)
            if len(own) >= min_length:
                long_ones.append(index)
                # no word holds a space
                yield hashlib.sha256(" ".join(own[:min_length]).encode()).digest()

    for at, first in enumerate(first_of_equals(gather(prefixes()))):
        if first != at:
            one, other = long_ones[at], long_ones[first]
            pairs = zip(words(texts[one]), words(texts[other]), strict=False)
            length = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            yield SharedPrefix(one, other, length)
