"""Near-duplicates: texts whose shingle sets are alike by Jaccard. Exact: no pair is missed.

MinHash would guess which pairs to compare. This compares by the prefix filter (Bayardo et al.
2007, "Scaling up all pairs similarity search"): if the sets are sorted from the rarest shingle on
and their Jaccard is at least t, they share one of the first |x| - ceil(t |x|) + 1 of x and of y. A
template with a changing word has its rare shingles at that word, so a file of one template costs
little.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from instructgpt.data.hygiene.shingles import Ids, Shingles, jaccard, shingle
from instructgpt.data.hygiene.wording import words


class Alike(NamedTuple):
    """Text `at` is a near-duplicate of text `other`; `similarity` is their Jaccard."""

    at: int
    other: int
    similarity: float


class SimilarityIndex:
    """Finds the texts added so far that are alike to another one, by Jaccard of at least t."""

    def __init__(self, shingles: Shingles, threshold: float) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold must be above 0 and at most 1, not {threshold}")
        self.shingles = shingles
        self.threshold = threshold
        self._texts_with: dict[int, list[int]] = {}

    def add(self, text: int) -> None:
        """Make `text` one that is found."""
        for one in self._prefix(self.shingles.of(text)):
            self._texts_with.setdefault(one, []).append(text)

    def candidates(self, text: int) -> list[int]:
        """Added texts that may be alike to `text`, ascending; every one that is, is among them."""
        ids = self.shingles.of(text)
        found: set[int] = set()
        for one in self._prefix(ids):
            found.update(self._texts_with.get(one, ()))
        return [other for other in sorted(found) if self._sizes_fit(ids, self.shingles.of(other))]

    def similarity(self, a: int, b: int) -> float:
        """The Jaccard of two texts."""
        return jaccard(self.shingles.of(a), self.shingles.of(b))

    def alike(self, text: int) -> Iterator[Alike]:
        """The added texts that are alike to `text`, the earliest first."""
        for other in self.candidates(text):
            similarity = self.similarity(text, other)
            if similarity >= self.threshold:
                yield Alike(text, other, similarity)

    def _prefix(self, ids: Ids) -> list[int]:
        # the margin keeps 0.7 * 10 = 7.000000000000001 from counting as 8
        required = math.ceil(self.threshold * len(ids) - 1e-9)
        return list(map(int, ids[: len(ids) - required + 1])) if len(ids) else []

    def _sizes_fit(self, a: Ids, b: Ids) -> bool:
        small, large = sorted((len(a), len(b)))
        return small >= self.threshold * large - 1e-9


def near_duplicates(texts: Sequence[str], threshold: float) -> list[Alike]:
    """The texts to leave out so that no two of the rest are alike; the first of its kind stays.

    A text is compared with those that stay, so each that goes has the one it repeats as `other`.
    """
    index = SimilarityIndex(shingle([words(text) for text in texts]), threshold)
    found: list[Alike] = []
    for text in range(len(texts)):
        alike = next(index.alike(text), None)
        if alike is None:
            index.add(text)
        else:
            found.append(alike)
    return found


def clusters(texts: Sequence[str], threshold: float) -> list[int]:
    """Every text's cluster, named by its first text: chains of near-duplicates are one cluster."""
    index = SimilarityIndex(shingle([words(text) for text in texts]), threshold)
    first = list(range(len(texts)))

    def find(text: int) -> int:
        while first[text] != text:
            first[text] = first[first[text]]
            text = first[text]
        return text

    for text in range(len(texts)):
        for other in index.candidates(text):
            a, b = sorted((find(text), find(other)))
            if a != b and index.similarity(text, other) >= threshold:
                first[b] = a
        index.add(text)
    return [find(text) for text in range(len(texts))]
