"""Texts as sets of word n-grams (shingles), numbered from the rarest on, in flat numpy arrays."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]

SIZE = 3
"""Words, or Chinese characters, per shingle."""

_FILLER = 0


@dataclass(frozen=True, slots=True)
class Shingles:
    """One set per text: all of them behind each other, each ascending from its rarest shingle."""

    ids: Ids
    starts: Ids

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, text: int) -> Ids:
        """The set of one text; empty for a text without words."""
        return self.ids[self.starts[text] : self.starts[text + 1]]


def shingle(texts: Sequence[Sequence[str]], size: int = SIZE) -> Shingles:
    """The shingles of tokenised texts; a text shorter than `size` is one shingle.

    Ids are exact, not hashes: two shingles have one id if and only if their words are the same.
    """
    flat, lengths = _token_ids(texts, size)
    owner = np.repeat(np.arange(len(texts), dtype=np.int64), lengths)
    ids = flat
    for offset in range(1, size):
        # (n-gram so far, next word) packed into 64 bits, then numbered anew
        packed = (ids[:-1] << 32) | flat[offset : offset + len(ids) - 1]
        ids = np.unique(packed, return_inverse=True)[1].astype(np.int64).reshape(-1)
    within = owner[: len(ids)] == owner[size - 1 :] if len(ids) else np.zeros(0, dtype=bool)
    ids, owner = ids[within], owner[: len(within)][within]
    rank = _from_the_rarest(ids)
    keys = np.unique((owner << 32) | rank[ids]) if len(ids) else np.zeros(0, dtype=np.int64)
    starts = np.searchsorted(keys >> 32, np.arange(len(texts) + 1))
    return Shingles(keys & 0xFFFFFFFF, starts.astype(np.int64))


def jaccard(a: Ids, b: Ids) -> float:
    """Shared share of two sets: |a and b| / |a or b|; 0 when one is empty."""
    if not len(a) or not len(b):
        return 0.0
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)


def _token_ids(texts: Sequence[Sequence[str]], size: int) -> tuple[Ids, Ids]:
    """All words as numbers, and how many each text has; short texts are filled up to `size`."""
    vocabulary: dict[str, int] = {}
    flat = array("q")
    lengths = array("q")
    for text in texts:
        flat.extend([vocabulary.setdefault(word, len(vocabulary) + 1) for word in text])
        filler = max(size - len(text), 0) if text else 0
        flat.extend([_FILLER] * filler)
        lengths.append(len(text) + filler)
    return np.array(flat, dtype=np.int64), np.array(lengths, dtype=np.int64)


def _from_the_rarest(ids: Ids) -> Ids:
    """id -> place in the order of frequency; equals keep the order of their ids."""
    order = np.argsort(np.bincount(ids), kind="stable") if len(ids) else ids
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank.astype(np.int64)
