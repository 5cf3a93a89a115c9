"""The schema of the label store, as a list of steps.

A step that has been released is never edited: a change of the schema is a new step at the end.
"""

from __future__ import annotations

from instructgpt.storage.database import Database, Migration


def m001_rankings(database: Database) -> None:
    """Labelers, tasks of K completions, and annotations that are only ever added."""
    database.define(
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
    )
    _append_only(database, "annotations", "completions")


def m002_desk(database: Database) -> None:
    """What people need to label on a page: sign-in, assignments, drafts, demonstrations, events.

    A task of kind "demonstrate" has no completions. `wanted` is how many labelers should see it;
    `screening` tasks are seen by everyone first, and `gold_json` holds the answers expected there.
    `program` is the version of the program that recorded a row.
    """
    database.define(
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
    )
    _append_only(database, "demonstrations", "events")


def m003_forgetting(database: Database) -> None:
    """Rows of a task may be deleted once the task is listed as forgotten, and not before."""
    database.define(
        "CREATE TABLE forgotten (task_id INTEGER PRIMARY KEY REFERENCES tasks (id), "
        "created_at TEXT NOT NULL)"
    )
    for table in ("annotations", "completions", "demonstrations", "events"):
        database.refuse(
            table,
            "DELETE",
            unless="EXISTS (SELECT 1 FROM forgotten WHERE task_id = OLD.task_id)",
        )


MIGRATIONS: tuple[Migration, ...] = (m001_rankings, m002_desk, m003_forgetting)


def _append_only(database: Database, *tables: str) -> None:
    """History is a property of the database rather than of the program."""
    for table in tables:
        for verb in ("UPDATE", "DELETE"):
            database.refuse(table, verb)
