"""Opening SQLite files so that nothing committed is lost, and saying plainly what went wrong."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from instructgpt.errors import DataError, RunDirError

_BUSY_SECONDS = 30.0
_DISK_CODES = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
}
_DAMAGE_CODES = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}


def connect(path: Path) -> sqlite3.Connection:
    """An autocommit connection in write-ahead mode; readers and one writer do not block each other.

    The caller serialises its threads. Errors: RunDirError, DataError as in `sqlite_errors`.
    """
    with sqlite_errors(path):
        connection = sqlite3.connect(
            path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA journal_mode = WAL")
            # a person's work must survive a power cut; NORMAL could lose the last submissions
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
    return connection


def table_names(path: Path) -> set[str]:
    """What is in an SQLite file, read without changing it. Errors as in `sqlite_errors`."""
    with (
        sqlite_errors(path),
        closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as file,
    ):
        return {name for (name,) in file.execute("SELECT name FROM sqlite_master")}


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Turn what the disk or the file is to blame for into one line that names `path`.

    RunDirError: disk full, read-only, forbidden, or locked by another process for half a minute.
    DataError: not an SQLite file, or damaged. Mistakes in our statements stay as they are.
    """
    try:
        yield
    except sqlite3.Error as error:
        # extended codes carry the primary one in their low byte
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in _DISK_CODES:
            raise RunDirError(
                f"cannot use '{path}': {error}; check free space and permissions, then start the "
                "same command again (what was stored before is safe)"
            ) from error
        if code in _DAMAGE_CODES:
            raise DataError(f"cannot read '{path}': {error}") from error
        raise
