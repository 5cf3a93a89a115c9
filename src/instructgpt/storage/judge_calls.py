"""Replies of AI judges that have been paid for: an SQLite file that only ever grows.

The key of a reply is the fingerprint of the whole request, so that asking the same again, also in
another process after a kill, finds it there. No API key is part of a request's body. Calls about
the prompts of a user who wants to be forgotten are the one thing that disappears.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from instructgpt.storage.environment import utc_now
from instructgpt.storage.fingerprint import canonical_json
from instructgpt.storage.migrations import migrate, refusal
from instructgpt.storage.sqlite import connect, sqlite_errors, table_names

FILE_NAME = "judge_calls.sqlite"


def is_judge_calls(path: Path) -> bool:
    """Whether the SQLite file holds replies of AI judges."""
    return "calls" in table_names(path)


class PaidReply(NamedTuple):
    """The text that came back and the tokens that the endpoint counted, if it did."""

    text: str
    tokens_in: int | None
    tokens_out: int | None


class JudgeCalls:
    """Replies by request, in the file `path`, which is made when it is first needed. Thread-safe.

    Errors: as of `LabelStore`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._guard = threading.Lock()
        self._opened: sqlite3.Connection | None = None

    def __enter__(self) -> JudgeCalls:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._opened is not None:
            self._opened.close()

    def find(self, fingerprint: str) -> PaidReply | None:
        """The reply to a request, None when it was never paid for."""
        with self._guard, sqlite_errors(self.path):
            row = (
                self._connection()
                .execute(
                    "SELECT reply, tokens_in, tokens_out FROM calls WHERE fingerprint = ?",
                    (fingerprint,),
                )
                .fetchone()
            )
        return None if row is None else PaidReply(*row)

    def add(
        self, fingerprint: str, request: object, reply: PaidReply, user: str | None = None
    ) -> None:
        """Remember a reply for good; the first reply to a request stays the only one.

        `user` is whose prompt it is about.
        """
        values = (fingerprint, user, canonical_json(request), *reply, utc_now())
        with self._guard, sqlite_errors(self.path):
            self._connection().execute(
                "INSERT INTO calls (fingerprint, user, request_json, reply, tokens_in, tokens_out, "
                "created_at) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (fingerprint) DO NOTHING",
                values,
            )

    def forget_user(self, user: str) -> int:
        """Erase every call about a prompt of `user`; their number. Not to be undone.

        Freed pages are overwritten and the write-ahead log is emptied.
        """
        with self._guard, sqlite_errors(self.path):
            connection = self._connection()
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.execute(
                    "INSERT OR IGNORE INTO forgotten "
                    "SELECT fingerprint, ? FROM calls WHERE user = ?",
                    (utc_now(), user),
                )
                gone = connection.execute("DELETE FROM calls WHERE user = ?", (user,)).rowcount
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return gone

    def _connection(self) -> sqlite3.Connection:
        """The open file; the caller holds the guard."""
        if self._opened is None:
            connection = connect(self.path)
            try:
                migrate(connection, (m001_calls,))
            except BaseException:
                connection.close()
                raise
            self._opened = connection
        return self._opened


def m001_calls(connection: sqlite3.Connection) -> None:
    """Requests and their replies."""
    for statement in (
        """CREATE TABLE calls (
            fingerprint TEXT PRIMARY KEY,
            user TEXT,
            request_json TEXT NOT NULL,
            reply TEXT NOT NULL,
            tokens_in INTEGER,
            tokens_out INTEGER,
            created_at TEXT NOT NULL
        )""",
        "CREATE TABLE forgotten (fingerprint TEXT PRIMARY KEY, created_at TEXT NOT NULL)",
        refusal("calls", "UPDATE"),
        refusal(
            "calls",
            "DELETE",
            "WHEN NOT EXISTS (SELECT 1 FROM forgotten WHERE fingerprint = OLD.fingerprint)",
        ),
    ):
        connection.execute(statement)
