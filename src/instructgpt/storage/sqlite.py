"""SQLite files: opened so that nothing committed is lost, and plain words for what went wrong."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence, Set
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import QueuePool, create_engine
from sqlalchemy.exc import DBAPIError

from instructgpt.errors import DataError, RunDirError
from instructgpt.storage.database import BUSY_SECONDS, Database, Migration

_DISK_CODES = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
}
_TABLES = (
    "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT GLOB 'sqlite_*'"
)
_DAMAGE_CODES = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}


class SqliteFile(Database):
    """The file `path`, made if it is missing, in write-ahead mode.

    Errors: RunDirError, DataError as in `sqlite_errors`.
    """

    _WRITE = "BEGIN IMMEDIATE"
    _READ = "BEGIN"

    def __init__(self, path: Path) -> None:
        self._path = path
        engine = create_engine(
            "sqlite://",
            creator=lambda: connect(path),
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=-1,
            hide_parameters=True,
        )
        super().__init__(str(path), engine)

    def migrate(self, steps: Sequence[Migration], ours: Set[str] = frozenset()) -> int:
        """As of `Database`; to open the file of something else would already change its mode."""
        # where even a look is forbidden, opening says so
        tables = table_names(self._path) if os.path.exists(self._path) else set()
        if tables and not ours <= tables:
            raise self._something_else(tables)
        return super().migrate(steps, ours)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """As `sqlite_errors`."""
        with sqlite_errors(self._path):
            yield

    def define(self, *statements: str) -> None:
        """Declare tables and indices."""
        for statement in statements:
            self.execute(statement)

    def refuse(self, table: str, verb: str, unless: str | None = None) -> None:
        """Add the trigger that refuses, or put it in the place of an earlier one."""
        when = "" if unless is None else f"WHEN NOT {unless}"
        self.execute(f"DROP TRIGGER IF EXISTS {table}_refuse_{verb}")
        self.execute(
            f"""CREATE TRIGGER {table}_refuse_{verb} BEFORE {verb} ON {table} {when}
        BEGIN SELECT RAISE(ABORT, '{table} are only ever added'); END"""
        )

    def scrub(self, *tables: str) -> None:
        """Fold the write-ahead log in and empty it; `secure_delete` has overwritten the rest."""
        with self.errors(), self._engine.connect() as connection:
            (busy, _, _) = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
        if busy:
            raise RunDirError(f"'{self.where}' is being read elsewhere; stop that, and try again")

    def _native(self, sql: str) -> str:
        return sql

    def _tables(self) -> Set[str]:
        return set(self.execute(_TABLES).scalars())

    def _version(self) -> int:
        return int(self.execute("PRAGMA user_version").scalar_one())

    def _set_version(self, version: int) -> None:
        self.execute(f"PRAGMA user_version = {version}")


def connect(path: Path) -> sqlite3.Connection:
    """An autocommit connection in write-ahead mode; readers and one writer do not block each other.

    The caller serialises its threads. Errors: RunDirError, DataError as in `sqlite_errors`.
    """
    with sqlite_errors(path):
        connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA journal_mode = WAL")
            # a person's work must survive a power cut; NORMAL could lose the last submissions
            connection.execute("PRAGMA synchronous = FULL")
            # what is deleted is a draft, a session, or a user's who asked for it: overwrite it
            connection.execute("PRAGMA secure_delete = ON")
        except BaseException:
            connection.close()
            raise
    return connection


def table_names(path: Path) -> set[str]:
    """What is in an SQLite file, read without changing it. Errors as in `sqlite_errors`."""
    with (
        sqlite_errors(path),
        closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
        ) as file,
    ):
        return {name for (name,) in file.execute(_TABLES)}


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Turn what the disk or the file is to blame for into one line that names `path`.

    RunDirError: disk full, read-only, forbidden, or locked by another process for half a minute.
    DataError: not an SQLite file, or damaged. Mistakes in our statements stay as they are.
    """
    try:
        yield
    except (sqlite3.Error, DBAPIError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        # extended codes carry the primary one in their low byte
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in _DISK_CODES:
            raise RunDirError(
                f"cannot use '{path}': {cause}; check free space and permissions, then start the "
                "same command again (what was stored before is safe)"
            ) from error
        if code in _DAMAGE_CODES:
            raise DataError(f"cannot read '{path}': {cause}") from error
        raise
