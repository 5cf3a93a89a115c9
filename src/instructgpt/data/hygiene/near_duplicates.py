"""Near-duplicates: texts whose shingle sets are alike by Jaccard. Exact: no pair is missed.

MinHash would guess which pairs to compare. This compares by the prefix filter (Bayardo et al.
2007, "Scaling up all pairs similarity search"): if the sets are sorted from the rarest shingle on
and their Jaccard is at least t, they share one of the first |x| - ceil(t |x|) + 1 of x and of y. A
template with a changing word has its rare shingles at that word, so a file of one template costs
little. A shingle of one text only makes nothing alike and is passed over.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from instructgpt.data.hygiene.postings import Postings
from instructgpt.data.hygiene.shingles import Ids, Shingles, jaccard
from instructgpt.data.hygiene.wording import words
from instructgpt.data.union_find import find, link, unlinked


class Alike(NamedTuple):
    """Text `at` is a near-duplicate of text `other`; `similarity` is their Jaccard."""

    at: int
    other: int
    similarity: float


class SimilarityIndex:
    """Finds the texts added so far that are alike to another one, by Jaccard of at least t."""

    def __init__(self, shingles: Shingles, threshold: float, folder: Path | None = None) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold must be above 0 and at most 1, not {threshold}")
        self.shingles = shingles
        self.threshold = threshold
        self._postings = Postings(folder)

    def add(self, text: int) -> None:
        """Make `text` one that is found."""
        self._postings.add(text, self._prefix(self.shingles.of(text)))

    def candidates(self, text: int) -> list[int]:
        """Added texts that may be alike to `text`, ascending; every one that is, is among them."""
        found = sorted(self._postings.texts(self._prefix(self.shingles.of(text))))
        return [other for other in found if self._sizes_fit(text, other)]

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
        """The shingles of a text's prefix that another text may hold too."""
        if not len(ids):
            return []
        # the margin keeps 0.7 * 10 = 7.000000000000001 from counting as 8
        required = math.ceil(self.threshold * len(ids) - 1e-9)
        texts = self.shingles.texts_with(ids)
        prefix = np.lexsort((ids, texts))[: len(ids) - required + 1]
        found: list[int] = ids[prefix[texts[prefix] > 1]].tolist()
        return found

    def _sizes_fit(self, a: int, b: int) -> bool:
        small, large = sorted((self.shingles.sizes[a], self.shingles.sizes[b]))
        return small >= self.threshold * large - 1e-9


def near_duplicates(
    texts: Iterable[str], threshold: float, folder: Path | None = None
) -> Iterator[Alike]:
    """The texts to leave out so that no two of the rest are alike; the first of its kind stays.

    A text is compared with those that stay, so each that goes has the one it repeats as `other`.
    `folder` is for temporary files. Errors: ValueError for a threshold outside (0, 1].
    """
    index = SimilarityIndex(Shingles(map(words, texts), folder), threshold, folder)
    for text in range(len(index.shingles)):
        alike = next(index.alike(text), None)
        if alike is None:
            index.add(text)
        else:
            yield alike


def clusters(texts: Iterable[str], threshold: float, folder: Path | None = None) -> array[int]:
    """Every text's cluster, named by its first text: chains of near-duplicates are one cluster.

    `folder` is for temporary files.
    """
    index = SimilarityIndex(Shingles(map(words, texts), folder), threshold, folder)
    first = unlinked(len(index.shingles))
    for text in range(len(first)):
        for other in index.candidates(text):
            linked = find(first, text) == find(first, other)
            if not linked and index.similarity(text, other) >= threshold:
                link(first, text, other)
        index.add(text)
    return array("q", (find(first, text) for text in range(len(first))))
