"""Texts as sets of word n-grams (shingles), hashed to 64 bits, in a temporary file.

Two different shingles share a hash in one of 10^19 cases. What is counted here, and by what it is
decided which shingles are rare, takes the same memory for ten texts and for ten million.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from instructgpt.data.spool import Spool

Ids = NDArray[np.int64]

SIZE = 3
"""Words, or Chinese characters, per shingle."""

_BUCKETS_LOG2 = 24
_FILLER = 0
# odd, drawn once: a shingle is the sum of its words' hashes, each times the factor of its place
_PLACES = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)


class Shingles:
    """One set per text, ascending, and how many texts hold a shingle, or at most a few more."""

    def __init__(self, texts: Iterable[Sequence[str]], folder: Path | None = None) -> None:
        """A text of fewer words than SIZE is one shingle, and one without words none."""
        self._texts_with = np.zeros(1 << _BUCKETS_LOG2, dtype=np.uint16)
        self._sets: Spool[Ids] = Spool(folder=folder)
        self.sizes = array("q")
        for words in texts:
            ids = _ids(words)
            self._sets.append(ids)
            self.sizes.append(len(ids))
            counts = self.texts_with(ids)
            self._texts_with[_bucket(ids)] = counts + (counts < np.iinfo(counts.dtype).max)

    def __len__(self) -> int:
        return len(self._sets)

    def of(self, text: int) -> Ids:
        """The set of one text; empty for a text without words."""
        return self._sets[text]

    def texts_with(self, ids: Ids) -> NDArray[np.uint16]:
        """How many texts hold each shingle: no fewer, and more where hashes share a bucket."""
        return self._texts_with[_bucket(ids)]


def jaccard(a: Ids, b: Ids) -> float:
    """Shared share of two sets: |a and b| / |a or b|; 0 when one is empty."""
    if not len(a) or not len(b):
        return 0.0
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)


def _ids(words: Sequence[str]) -> Ids:
    filler = [_FILLER] * (SIZE - len(words)) if words else []
    hashes = np.array([*map(_hash, words), *filler], dtype=np.uint64)
    count = max(len(hashes) - SIZE + 1, 0)
    sums = np.zeros(count, dtype=np.uint64)
    for place, factor in enumerate(_PLACES):
        sums += hashes[place : place + count] * factor
    return np.unique(sums.view(np.int64))


@lru_cache(maxsize=1 << 16)
def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")


def _bucket(ids: Ids) -> NDArray[np.uint64]:
    buckets: NDArray[np.uint64] = ids.view(np.uint64) >> np.uint64(64 - _BUCKETS_LOG2)
    return buckets
