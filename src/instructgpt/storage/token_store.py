"""Token sequences in files: written one after the other, read by index, never all in memory.

tokens.npy    int32: the ids of all sequences; a token without loss is there as ~id, below 0
starts.npy    int64: where each sequence begins, and where the last one ends

Both are plain .npy files. Sequences are read with `pread` and not mapped: pages of a mapped file
count as memory of the process, and a file that is cut short would kill it.
"""

from __future__ import annotations

import os
import weakref
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, overload

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from instructgpt.errors import RunDirError

TokenSequence = tuple[list[int], list[bool]]
"""Token ids and their loss mask."""

_TOKENS = "tokens.npy"
_STARTS = "starts.npy"
_ID = np.dtype("<i4")


class TokenStore(Sequence[TokenSequence]):
    """The sequences that `write_tokens` put into a folder; 8 bytes of each are in memory.

    Errors: RunDirError when the files are damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / _TOKENS
        self._starts: NDArray[np.int64] = np.load(folder / _STARTS)
        with open(self.path, "rb") as file:
            npy.read_magic(file)
            npy.read_array_header_1_0(file)
            self._first = file.tell()
        self._descriptor = os.open(self.path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def __len__(self) -> int:
        return len(self._starts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of every sequence."""
        return np.diff(self._starts)

    @overload
    def __getitem__(self, index: int) -> TokenSequence: ...
    @overload
    def __getitem__(self, index: slice) -> list[TokenSequence]: ...
    def __getitem__(self, index: int | slice) -> TokenSequence | list[TokenSequence]:
        chosen = range(len(self))[index]
        return self._read(chosen) if isinstance(chosen, int) else [self._read(i) for i in chosen]

    def _read(self, index: int) -> TokenSequence:
        start, stop = map(int, self._starts[index : index + 2])
        size = (stop - start) * _ID.itemsize
        data = os.pread(self._descriptor, size, self._first + start * _ID.itemsize)
        if len(data) < size:
            raise RunDirError(f"'{self.path}' was cut short; remove its folder and start again")
        stored = np.frombuffer(data, _ID)
        counts = stored >= 0
        return np.where(counts, stored, ~stored).tolist(), counts.tolist()


def write_tokens(folder: Path, sequences: Iterable[TokenSequence]) -> None:
    """Write the files of a TokenStore into an existing folder; one sequence is in memory."""
    starts = array("q", [0])
    with open(folder / _TOKENS, "xb") as file:
        _write_header(file, 0)
        for ids, mask in sequences:
            known = np.array(ids, _ID)
            file.write(np.where(mask, known, ~known).tobytes())
            starts.append(starts[-1] + len(ids))
        file.seek(0)
        _write_header(file, starts[-1])
    np.save(folder / _STARTS, np.frombuffer(starts, np.int64))


def _write_header(file: IO[bytes], length: int) -> None:
    """numpy leaves room in a header for its first axis to grow, so a later one fits over it."""
    header = {"descr": _ID.str, "fortran_order": False, "shape": (length,)}
    npy.write_array_header_1_0(file, header)
