"""Replies of AI judges that have been paid for: an SQLite file that only ever grows.

The key of a reply is the fingerprint of the whole request, so that asking the same again, also in
another process after a kill, finds it there. No API key is part of a request's body. Calls about
the prompts of a user who wants to be forgotten are the one thing that disappears.
"""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from instructgpt.storage.database import Database
from instructgpt.storage.environment import utc_now
from instructgpt.storage.fingerprint import canonical_json
from instructgpt.storage.sqlite import SqliteFile, table_names

FILE_NAME = "judge_calls.sqlite"
_TABLE = "calls"


def is_judge_calls(path: Path) -> bool:
    """Whether the SQLite file holds replies of AI judges."""
    return _TABLE in table_names(path)


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
        self._opened: SqliteFile | None = None

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
        file = self._file()
        with file.transaction():
            row = file.execute(
                "SELECT reply, tokens_in, tokens_out FROM calls WHERE fingerprint = :fingerprint",
                fingerprint=fingerprint,
            ).first()
        return None if row is None else PaidReply(row.reply, row.tokens_in, row.tokens_out)

    def add(
        self, fingerprint: str, request: object, reply: PaidReply, user: str | None = None
    ) -> None:
        """Remember a reply for good; the first reply to a request stays the only one.

        `user` is whose prompt it is about.
        """
        file = self._file()
        with file.transaction():
            file.execute(
                "INSERT INTO calls (fingerprint, user, request_json, reply, tokens_in, tokens_out, "
                "created_at) VALUES (:fingerprint, :user, :request, :text, :tokens_in, "
                ":tokens_out, :now) ON CONFLICT (fingerprint) DO NOTHING",
                fingerprint=fingerprint,
                user=user,
                request=canonical_json(request),
                **reply._asdict(),
                now=utc_now(),
            )

    def forget_user(self, user: str) -> int:
        """Erase every call about a prompt of `user`; their number. Not to be undone."""
        file = self._file()
        with file.transaction():
            file.execute(
                "INSERT OR IGNORE INTO forgotten "
                "SELECT fingerprint, :now FROM calls WHERE user = :user",
                now=utc_now(),
                user=user,
            )
            gone = file.execute("DELETE FROM calls WHERE user = :user", user=user).rowcount
        file.scrub("calls")
        return gone

    def _file(self) -> SqliteFile:
        """The open file, made when it is first needed."""
        with self._guard:
            if self._opened is None:
                file = SqliteFile(self.path)
                try:
                    file.migrate((m001_calls,), {_TABLE})
                except BaseException:
                    file.close()
                    raise
                self._opened = file
            return self._opened


def m001_calls(database: Database) -> None:
    """Requests and their replies."""
    database.define(
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
    )
    database.refuse("calls", "UPDATE")
    database.refuse(
        "calls",
        "DELETE",
        unless="EXISTS (SELECT 1 FROM forgotten WHERE fingerprint = OLD.fingerprint)",
    )
