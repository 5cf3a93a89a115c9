"""Prompts that share a long common prefix (paper 3.2, A.2), such as a template filled in anew."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

from instructgpt.data.hygiene.wording import words


class SharedPrefix(NamedTuple):
    """Text `at` begins as text `other` does, for `length` words or Chinese characters."""

    at: int
    other: int
    length: int


def prefix_duplicates(texts: Sequence[str], min_length: int) -> list[SharedPrefix]:
    """The texts that share their first `min_length` words with an earlier one; shorter ones never.

    To share that many is an equivalence, so one look per text finds what sorting would.
    """
    first: dict[tuple[str, ...], tuple[int, list[str]]] = {}
    found: list[SharedPrefix] = []
    for index, text in enumerate(texts):
        own = words(text)
        if len(own) < min_length:
            continue
        other, others = first.setdefault(tuple(own[:min_length]), (index, own))
        if other != index:
            pairs = zip(own, others, strict=False)
            length = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            found.append(SharedPrefix(index, other, length))
    return found
