"""A copy of a store that may be in use, whole as of one moment."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from instructgpt.errors import ConfigError, DataError, RunDirError
from instructgpt.storage.address import is_url
from instructgpt.storage.atomic import publish_file
from instructgpt.storage.sqlite import connect, sqlite_errors


def back_up(source: str | Path, to: Path) -> None:
    """Copy the store `source` to the new file `to`, which appears only when it is complete and
    flushed. Writers go on meanwhile; what they add is not in the copy.

    Of an SQLite file it is another one, found to be sound; of a PostgreSQL database what
    `pg_restore` reads. Errors: ConfigError when `to` exists, or pg_dump is missing; RunDirError
    when disk or server refuses; DataError when the database is damaged.
    """
    with publish_file(to) as temporary:
        if to.exists():
            raise ConfigError(f"'{to}' exists; a backup replaces nothing, so give a new name")
        if is_url(source):
            _dump(str(source), temporary)
        else:
            _copy(Path(source), temporary)


def _copy(source: Path, to: Path) -> None:
    with (
        closing(connect(source)) as reading,
        sqlite_errors(source),
        closing(sqlite3.connect(to)) as writing,
    ):
        reading.backup(writing)
        writing.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it
        (verdict,) = writing.execute("PRAGMA integrity_check").fetchone()
    if verdict != "ok":
        raise DataError(f"'{source}' is damaged ({verdict}); no backup was written")


def _dump(url: str, to: Path) -> None:
    from instructgpt.storage.postgres import dump_command

    command, secret = dump_command(url)
    if shutil.which(command[0]) is None:
        raise ConfigError(
            "PostgreSQL is copied by pg_dump, which is not on PATH (apt install "
            f"postgresql-client); where it is, run: {' '.join(command)} --file=COPY"
        )
    done = subprocess.run(
        [*command, f"--file={to}"],
        env={**os.environ, **secret},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RunDirError(f"no backup was written: {' '.join(done.stderr.split())}")
