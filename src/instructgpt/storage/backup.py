"""A copy of an SQLite file that may be in use, whole as of one moment."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from instructgpt.errors import ConfigError, DataError
from instructgpt.storage.atomic import publish_file
from instructgpt.storage.sqlite import connect, sqlite_errors


def back_up(source: Path, to: Path) -> None:
    """Copy the database `source` to the new file `to`, which appears only when it is complete,
    flushed and found to be sound. Writers go on meanwhile; what they add is not in the copy.

    Errors: ConfigError when `to` exists, RunDirError when the disk refuses, DataError when the
    database is damaged.
    """
    if to.exists():
        raise ConfigError(f"'{to}' exists; a backup replaces nothing, so give a new name")
    with publish_file(to) as temporary:
        with (
            closing(connect(source)) as reading,
            sqlite_errors(source),
            closing(sqlite3.connect(temporary)) as writing,
        ):
            reading.backup(writing)
            writing.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it
            (verdict,) = writing.execute("PRAGMA integrity_check").fetchone()
        if verdict != "ok":
            raise DataError(f"'{source}' is damaged ({verdict}); no backup was written")
