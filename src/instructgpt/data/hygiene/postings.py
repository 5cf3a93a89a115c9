"""Which texts hold a shingle, in a temporary SQLite file: an index that may outgrow memory."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from instructgpt.disk import disk_errors

_CACHE_KIB = 8192


class Postings:
    """shingle -> the texts that were added with it.

    Errors: RunDirError when the disk is full or refuses.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = Path(folder or gettempdir())
        with disk_errors(self._folder), TemporaryDirectory(dir=self._folder) as temporary:
            self._database = sqlite3.connect(Path(temporary) / "postings", isolation_level=None)
            weakref.finalize(self, self._database.close)
            self._database.executescript(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
                "PRAGMA locking_mode = EXCLUSIVE;"
                f"PRAGMA cache_size = -{_CACHE_KIB};"
                "CREATE TABLE postings (shingle INTEGER, text INTEGER,"
                " PRIMARY KEY (shingle, text)) WITHOUT ROWID;"
                "BEGIN"
            )
        # open, but without a name: nothing of it is left however the process ends

    def add(self, text: int, shingles: Iterable[int]) -> None:
        """Note that `text` holds some shingles."""
        rows = ((one, text) for one in shingles)
        with disk_errors(self._folder):
            self._database.executemany("INSERT INTO postings VALUES (?, ?)", rows)

    def texts(self, shingles: Iterable[int]) -> set[int]:
        """The texts that hold any of some shingles."""
        query = "SELECT text FROM postings WHERE shingle = ?"
        with disk_errors(self._folder):
            return {text for one in shingles for (text,) in self._database.execute(query, (one,))}
