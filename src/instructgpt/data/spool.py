"""Sequences that do not hold their values: in a temporary file, and views of other sequences."""

from __future__ import annotations

import os
import pickle
import weakref
from abc import abstractmethod
from array import array
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from instructgpt.disk import disk_errors, write_all

T = TypeVar("T")


class Lazy(Sequence[T]):
    """A sequence that makes each value when it is asked for; a slice is a list."""

    @abstractmethod
    def value(self, place: int) -> T:
        """The value at `place`, from 0 to the length."""

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        chosen = range(len(self))[index]
        return self.value(chosen) if isinstance(chosen, int) else list(map(self.value, chosen))


class Spool(Lazy[T]):
    """Values in a temporary file, written in order; 8 bytes of each are in memory.

    The file has no name, so that nothing of it is left however the process ends. It lies in
    `folder`, or where the system keeps temporary files, which can be memory. Values come back equal
    to what was put in, as new objects. Errors: RunDirError when the disk is full or refuses.
    """

    def __init__(self, values: Iterable[T] = (), folder: Path | None = None) -> None:
        self._folder = Path(folder or gettempdir())
        with disk_errors(self._folder):
            # no buffer, which closing could fail to write; closed when the spool goes
            self._file = TemporaryFile(buffering=0, dir=self._folder)  # noqa: SIM115
        self._ends = array("q", [0])
        weakref.finalize(self, self._file.close)
        for value in values:
            self.append(value)

    def append(self, value: T) -> None:
        """Put a value behind the others."""
        data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        with disk_errors(self._folder):
            write_all(self._file.fileno(), data)
        self._ends.append(self._ends[-1] + len(data))

    def truncate(self, length: int) -> None:
        """Forget all values but the first `length`."""
        del self._ends[length + 1 :]
        self._file.seek(self._ends[-1])
        self._file.truncate()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def value(self, place: int) -> T:
        """Read from the file."""
        start, end = self._ends[place : place + 2]
        value: T = pickle.loads(os.pread(self._file.fileno(), end - start, start))
        return value


class Chosen(Lazy[T]):
    """Some values of a sequence, by their indices."""

    def __init__(self, values: Sequence[T], indices: NDArray[np.int64]) -> None:
        self._values = values
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def value(self, place: int) -> T:
        """Looked up in the sequence."""
        return self._values[int(self._indices[place])]


class Mapped(Lazy[T]):
    """What a function makes of the values of a sequence."""

    def __init__(self, function: Callable[[Any], T], values: Sequence[Any]) -> None:
        self._function = function
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def value(self, place: int) -> T:
        """Made anew each time."""
        return self._function(self._values[place])
