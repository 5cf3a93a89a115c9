"""A database with one writer at a time, of either kind: an SQLite file, or PostgreSQL.

Statements are SQL that both kinds understand, with values by name (`:name`). What the kinds do in
different ways is below as abstract methods: how a transaction begins, what an error means, and how
history is kept from being changed.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

from sqlalchemy import Connection, CursorResult, Engine

from instructgpt.errors import DataError

BUSY_SECONDS = 30
"""How long a writer waits for its turn."""

Run = Callable[..., CursorResult[Any]]
"""run(sql, **values): a statement and what it found."""


class Database(ABC):
    """Safe to share between threads and between processes; opened when it is first used.

    `where` names it in messages: a path, or an address without its password. Errors: those of the
    kind, which `errors` lists.
    """

    # what begins a transaction; the driver underneath begins none by itself
    _WRITE: ClassVar[str]
    """Begins one in which nobody else writes."""
    _READ: ClassVar[str]
    """Begins one that sees the database as of one moment."""

    def __init__(self, where: str, engine: Engine) -> None:
        self.where = where
        self._engine = engine
        self._guard = threading.RLock()
        self._writing: Connection | None = None

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is stored together or not at all; nobody else writes meanwhile.

        One inside another is part of it.
        """
        with self._guard:
            if self._writing is not None:
                yield
                return
            with self.errors(), self._engine.begin() as connection:
                connection.exec_driver_sql(self._WRITE)
                self._writing = connection
                try:
                    yield
                finally:
                    self._writing = None

    def execute(self, sql: str, /, **values: Any) -> CursorResult[Any]:
        """Run one statement; inside `transaction`."""
        assert self._writing is not None, "only inside a transaction"
        return self._writing.exec_driver_sql(self._native(sql), values)

    def execute_many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run one statement for every row; inside `transaction`."""
        assert self._writing is not None, "only inside a transaction"
        if rows:
            self._writing.exec_driver_sql(self._native(sql), rows)

    @contextmanager
    def snapshot(self) -> Iterator[Run]:
        """Reading as of one moment, whatever is written meanwhile."""
        with self.errors(), self._engine.connect() as connection:
            connection.exec_driver_sql(self._READ)
            yield lambda sql, **values: connection.exec_driver_sql(self._native(sql), values)

    def migrate(self, steps: Sequence[Migration], ours: Set[str] = frozenset()) -> int:
        """Bring the schema up to date, one transaction per step; the number of steps done.

        The first step makes the tables `ours`, among others. A kill between or inside steps leaves
        a database that the next call completes. Errors: DataError when the database holds
        something else, or was written by a newer version of this program; it is not changed then.
        """
        for done in range(len(steps) + 1):
            with self.transaction():
                # read inside the transaction: another process may be migrating the same database
                tables = self._tables()
                # what counts the versions of something else may not even be a number
                version = self._version() if ours <= tables or not tables else 0
                if tables and version == 0:
                    raise self._something_else(tables)
                if version > len(steps):
                    raise DataError(
                        f"'{self.where}' has schema version {version} and this program knows "
                        f"{len(steps)}; upgrade instructgpt to open it"
                    )
                if version == len(steps):
                    return done
                steps[version](self)
                self._set_version(version + 1)
        return len(steps)

    def _something_else(self, tables: Set[str]) -> DataError:
        return DataError(
            f"'{self.where}' holds something else (table {min(tables)}); give a file or a database "
            "of its own"
        )

    @abstractmethod
    def errors(self) -> AbstractContextManager[None]:
        """Turn what is not our mistake into one line that names the database.

        RunDirError: what stores it refuses, or others keep it busy. DataError: it is damaged, or
        something else.
        """

    @abstractmethod
    def define(self, *statements: str) -> None:
        """Declare tables and indices, in SQLite's words; inside `transaction`."""

    @abstractmethod
    def refuse(self, table: str, verb: str, unless: str | None = None) -> None:
        """From now on the database itself refuses `verb` (UPDATE or DELETE) on the rows of `table`,
        but for those of which `unless` holds, a condition on `OLD`; inside `transaction`.
        """

    @abstractmethod
    def scrub(self, *tables: str) -> None:
        """Leave nothing of deleted rows in the files of these tables; outside transactions.

        Errors: RunDirError when others keep them busy for half a minute.
        """

    @abstractmethod
    def _native(self, sql: str) -> str:
        """A statement with its values marked as the driver wants them."""

    @abstractmethod
    def _tables(self) -> Set[str]:
        """What is in it, but for what belongs to the database itself."""

    @abstractmethod
    def _version(self) -> int:
        """How many steps of its schema are done."""

    @abstractmethod
    def _set_version(self, version: int) -> None:
        """Remember it."""


Migration = Callable[[Database], None]
