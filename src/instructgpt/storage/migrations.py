"""The schema of the label store, as a list of steps; `PRAGMA user_version` counts those done.

A step that has been released is never edited: a change of the schema is a new step at the end.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from instructgpt.errors import DataError

Migration = Callable[[sqlite3.Connection], None]


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration] | None = None) -> int:
    """Bring an open database up to date, one transaction per step; the number of steps done.

    `connection` must be in autocommit mode (`isolation_level=None`); `migrations` defaults to the
    label store's. A kill between or inside steps leaves a database that the next call completes.
    Errors: DataError when the database was written by a newer version of this program.
    """
    steps = MIGRATIONS if migrations is None else migrations
    done = 0
    while True:
        connection.execute("BEGIN IMMEDIATE")
        try:
            # read inside the transaction: another process may be migrating the same file
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if version < len(steps):
                steps[version](connection)
                connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        if version > len(steps):
            raise DataError(
                f"the label store has schema version {version} and this program knows {len(steps)};"
                " upgrade instructgpt to open it"
            )
        if version == len(steps):
            return done
        done += 1


def m001_rankings(connection: sqlite3.Connection) -> None:
    """Labelers, tasks of K completions, and annotations that are only ever added."""
    for statement in (
        """CREATE TABLE labelers (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            kind TEXT NOT NULL,
            meta_json TEXT NOT NULL,
            created_at TEXT NOT NULL
        )""",
        """CREATE TABLE tasks (
            id INTEGER PRIMARY KEY,
            prompt_json TEXT NOT NULL,
            prompt_key TEXT NOT NULL,
            content_key TEXT NOT NULL UNIQUE,
            meta_json TEXT NOT NULL,
            created_at TEXT NOT NULL
        )""",
        "CREATE INDEX tasks_by_prompt ON tasks (prompt_key)",
        """CREATE TABLE completions (
            task_id INTEGER NOT NULL REFERENCES tasks (id),
            position INTEGER NOT NULL,
            text TEXT NOT NULL,
            model TEXT,
            sampling_json TEXT NOT NULL,
            PRIMARY KEY (task_id, position)
        ) WITHOUT ROWID""",
        """CREATE TABLE annotations (
            id INTEGER PRIMARY KEY,
            task_id INTEGER NOT NULL REFERENCES tasks (id),
            labeler_id INTEGER NOT NULL REFERENCES labelers (id),
            client_uuid TEXT NOT NULL UNIQUE,
            revision INTEGER NOT NULL,
            ranks_json TEXT NOT NULL,
            ratings_json TEXT,
            flags_json TEXT NOT NULL,
            notes TEXT NOT NULL,
            seconds REAL,
            order_json TEXT,
            created_at TEXT NOT NULL,
            UNIQUE (task_id, labeler_id, revision)
        )""",
        *_append_only("annotations"),
        *_append_only("completions"),
    ):
        connection.execute(statement)


def m002_desk(connection: sqlite3.Connection) -> None:
    """What people need to label on a page: sign-in, assignments, drafts, demonstrations, events.

    A task of kind "demonstrate" has no completions. `wanted` is how many labelers should see it;
    `screening` tasks are seen by everyone first, and `gold_json` holds the answers expected there.
    `program` is the version of the program that recorded a row.
    """
    for statement in (
        "ALTER TABLE annotations ADD COLUMN use_case TEXT",
        "ALTER TABLE annotations ADD COLUMN program TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE tasks ADD COLUMN kind TEXT NOT NULL DEFAULT 'rank'",
        "ALTER TABLE tasks ADD COLUMN wanted INTEGER NOT NULL DEFAULT 1",
        "ALTER TABLE tasks ADD COLUMN screening INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE tasks ADD COLUMN gold_json TEXT",
        """CREATE TABLE access (
            labeler_id INTEGER PRIMARY KEY REFERENCES labelers (id),
            role TEXT NOT NULL,
            token_hash TEXT NOT NULL UNIQUE,
            created_at TEXT NOT NULL
        )""",
        """CREATE TABLE sessions (
            token_hash TEXT PRIMARY KEY,
            labeler_id INTEGER NOT NULL REFERENCES labelers (id),
            created_at TEXT NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE assignments (
            id INTEGER PRIMARY KEY,
            task_id INTEGER NOT NULL REFERENCES tasks (id),
            labeler_id INTEGER NOT NULL REFERENCES labelers (id),
            state TEXT NOT NULL,
            order_json TEXT NOT NULL,
            touched_at TEXT NOT NULL,
            UNIQUE (task_id, labeler_id)
        )""",
        "CREATE INDEX assignments_by_labeler ON assignments (labeler_id, state)",
        """CREATE TABLE drafts (
            assignment_id INTEGER PRIMARY KEY REFERENCES assignments (id),
            version INTEGER NOT NULL,
            draft_json TEXT NOT NULL,
            saved_at TEXT NOT NULL
        )""",
        """CREATE TABLE demonstrations (
            id INTEGER PRIMARY KEY,
            task_id INTEGER NOT NULL REFERENCES tasks (id),
            labeler_id INTEGER NOT NULL REFERENCES labelers (id),
            client_uuid TEXT NOT NULL UNIQUE,
            revision INTEGER NOT NULL,
            text TEXT NOT NULL,
            notes TEXT NOT NULL,
            seconds REAL,
            program TEXT NOT NULL,
            created_at TEXT NOT NULL,
            UNIQUE (task_id, labeler_id, revision)
        )""",
        """CREATE TABLE events (
            id INTEGER PRIMARY KEY,
            kind TEXT NOT NULL,
            actor TEXT NOT NULL,
            labeler_id INTEGER REFERENCES labelers (id),
            task_id INTEGER REFERENCES tasks (id),
            detail_json TEXT NOT NULL,
            program TEXT NOT NULL,
            created_at TEXT NOT NULL
        )""",
        *_append_only("demonstrations"),
        *_append_only("events"),
    ):
        connection.execute(statement)


def m003_forgetting(connection: sqlite3.Connection) -> None:
    """Rows of a task may be deleted once the task is listed as forgotten, and not before."""
    connection.execute(
        "CREATE TABLE forgotten (task_id INTEGER PRIMARY KEY REFERENCES tasks (id), "
        "created_at TEXT NOT NULL)"
    )
    for table in ("annotations", "completions", "demonstrations", "events"):
        connection.execute(f"DROP TRIGGER {table}_refuse_DELETE")
        connection.execute(
            refusal(
                table,
                "DELETE",
                "WHEN NOT EXISTS (SELECT 1 FROM forgotten WHERE task_id = OLD.task_id)",
            )
        )


MIGRATIONS: tuple[Migration, ...] = (m001_rankings, m002_desk, m003_forgetting)


def _append_only(table: str) -> list[str]:
    """Triggers that make history a property of the file rather than of the program."""
    return [refusal(table, verb) for verb in ("UPDATE", "DELETE")]


def refusal(table: str, verb: str, when: str = "") -> str:
    """A trigger that refuses `verb` (UPDATE or DELETE) on `table`, always or `when`."""
    return f"""CREATE TRIGGER {table}_refuse_{verb} BEFORE {verb} ON {table} {when}
        BEGIN SELECT RAISE(ABORT, '{table} are only ever added'); END"""
