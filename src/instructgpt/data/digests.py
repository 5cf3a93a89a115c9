"""Hashes of 32 bytes that stand for texts in memory, in arrays; equal if and only if the texts are.

(Two texts with one SHA-256 are not known to anybody.)
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

SIZE = 32

Digests = NDArray[np.bytes_]
"""Of dtype S32, ordered as the bytes are; an item lacks the zeros at its end, see `hexadecimal`."""

Indices = NDArray[np.int64]


def gather(digests: Iterable[bytes]) -> Digests:
    """Digests of SIZE bytes as an array."""
    together = bytearray()
    for digest in digests:
        together += digest
    return np.frombuffer(together, dtype=f"S{SIZE}")


def first_of_equals(values: NDArray[np.generic]) -> Indices:
    """The index of the first value that equals each."""
    _, first, number = np.unique(values, return_index=True, return_inverse=True)
    of_each: Indices = first[number].reshape(-1)
    return of_each


def hexadecimal(digest: bytes) -> str:
    """An item of `Digests` as 64 hex digits."""
    return digest.ljust(SIZE, b"\0").hex()
