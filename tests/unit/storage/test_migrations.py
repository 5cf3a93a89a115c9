"""Migrations: each step once, in order, whole or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from instructgpt.errors import DataError
from instructgpt.storage.address import open_database
from instructgpt.storage.database import Database
from instructgpt.storage.judge_calls import JudgeCalls
from instructgpt.storage.label_access import LabelAccess
from instructgpt.storage.label_desk import LabelDesk
from instructgpt.storage.label_review import LabelReview
from instructgpt.storage.label_store import LabelStore
from instructgpt.storage.migrations import MIGRATIONS

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture
def database(address: str) -> Iterator[Database]:
    with closing(open_database(address)) as opened:
        yield opened


def make_pets(database: Database) -> None:
    database.define("CREATE TABLE pets (name TEXT)")
    database.execute("INSERT INTO pets VALUES ('Tom')")


def add_kind(database: Database) -> None:
    database.define("ALTER TABLE pets ADD COLUMN kind TEXT NOT NULL DEFAULT 'cat'")
    database.execute("INSERT INTO pets VALUES ('Rex', 'dog')")


def version_in(address: str) -> str:
    """What tells how far a database has come."""
    return "SELECT version FROM schema_version" if "://" in address else "PRAGMA user_version"


def test_an_older_database_gets_the_steps_it_lacks_and_keeps_its_rows(
    database: Database, address: str, outside
) -> None:
    assert database.migrate([make_pets]) == 1
    outside("INSERT INTO pets VALUES ('Kit')")
    assert outside(version_in(address)) == [(1,)]
    assert database.migrate([make_pets, add_kind]) == 1
    assert outside(version_in(address)) == [(2,)]
    assert database.migrate([make_pets, add_kind]) == 0
    assert outside("SELECT * FROM pets") == [("Tom", "cat"), ("Kit", "cat"), ("Rex", "dog")]


def test_a_step_that_fails_halfway_leaves_no_trace(
    database: Database, address: str, outside
) -> None:
    def broken(database: Database) -> None:
        add_kind(database)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        database.migrate([make_pets, broken])
    assert outside(version_in(address)) == [(1,)]
    assert outside("SELECT * FROM pets") == [("Tom",)]
    assert database.migrate([make_pets, add_kind]) == 1


def test_a_database_from_the_future_is_refused_and_left_alone(
    database: Database, address: str, outside
) -> None:
    database.migrate([*MIGRATIONS, make_pets])
    with pytest.raises(DataError, match="upgrade instructgpt"):
        LabelStore(address)
    assert outside(version_in(address)) == [(len(MIGRATIONS) + 1,)]
    assert outside("SELECT * FROM pets") == [("Tom",)]


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize(
    "theirs",
    [
        ["CREATE TABLE notes (text TEXT)"],
        ["CREATE VIEW tasks AS SELECT 1 AS id"],
        ["CREATE TABLE tasks (id INTEGER)", "CREATE TABLE schema_version (done INTEGER)"],
        [f"CREATE TABLE {name} (id INTEGER)" for name in ("labelers", "tasks", "annotations")],
    ],
    ids=len,
)
def test_a_database_of_something_else_is_refused_and_left_alone(
    address: str, outside, monkeypatch, theirs: list[str], at_once: bool
) -> None:
    """Our tables were added to theirs silently; `tasks` and `schema_version` were a traceback.

    At once: whatever a look before opening it finds, they made theirs a moment later.
    """
    if at_once:
        monkeypatch.setattr("instructgpt.storage.sqlite.table_names", lambda path: set())
    for statement in theirs:
        outside(statement)
    with pytest.raises(DataError, match=r"holds something else \(table \w+\); give a file or"):
        LabelStore(address)
    tables = (
        "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
        if "://" in address
        else "SELECT name FROM sqlite_master"
    )
    assert {name for (name,) in outside(tables)} == {one.split()[2] for one in theirs}
    if "://" not in address and not at_once and len(theirs) < 3:
        assert outside("PRAGMA journal_mode") == [("delete",)]


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
def test_paid_replies_are_no_label_store_and_the_other_way_round(address: str, outside) -> None:
    with JudgeCalls(address) as calls:
        assert calls.find("f") is None
    with pytest.raises(DataError, match="something else"):
        LabelStore(address)
    assert outside("PRAGMA user_version") == [(1,)]
    LabelStore(address + "2").close()
    with JudgeCalls(address + "2") as calls, pytest.raises(DataError, match="something else"):
        calls.find("f")


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
def test_tables_of_sqlite_itself_do_not_count(address: str, outside) -> None:
    outside("CREATE TABLE notes (id INTEGER PRIMARY KEY AUTOINCREMENT)")
    outside("DROP TABLE notes")
    assert outside("SELECT name FROM sqlite_master") == [("sqlite_sequence",)]
    LabelStore(address).close()


def test_the_label_store_is_at_the_newest_version(address: str, outside) -> None:
    for _ in range(2):
        LabelStore(address).close()
        assert outside(version_in(address)) == [(len(MIGRATIONS),)]


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
def test_a_file_is_opened_so_that_nothing_committed_is_lost(address: str, outside) -> None:
    with LabelStore(address) as store, store.transaction():
        assert outside("PRAGMA journal_mode") == [("wal",)]
        assert store.execute("PRAGMA foreign_keys").scalar_one() == 1
        assert store.execute("PRAGMA synchronous").scalar_one() == 2  # FULL


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
def test_a_file_of_an_earlier_release_is_as_new_ones_are_and_goes_on(address, tmp_path, outside):
    """`label_store_v3.sql` is a dump of what the program wrote before it knew PostgreSQL."""
    with closing(sqlite3.connect(tmp_path / "old.sqlite")) as old:
        old.executescript((DATA / "label_store_v3.sql").read_text(encoding="utf-8"))
        schema = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"
        before = old.execute(schema).fetchall()
    LabelStore(address).close()
    assert outside(schema) == before
    with LabelStore(tmp_path / "old.sqlite") as store:
        assert store.counts() == {"labelers": 3, "tasks": 4, "annotations": 3, "rankings": 2}
        said = {row["labeler"]: (row["ranks"], row["meta"]) for row in store.rankings(task=1)}
        assert said["ann"][0] == [1, 3, 2]
        assert said["ann"][1]["revision"] == 2
        assert said["robot"][0] == [2, 1, 1]
        (poem,) = LabelReview(store).demonstrations()
        assert (poem["completion"], poem["meta"]["score"]) == ("Roses are red", 6)
        ann = LabelAccess(store).who("token-of-the-old-store-02")
        assert ann is not None
        assert ann.name == "ann"
        held = LabelDesk(store).next(ann)
        assert held is not None
        assert (held.task_id, held.draft) == (4, {"notes": "half"})
        store.submit(4, "ann", [2, 1], client_uuid="after")
        history = LabelReview(store).history()
        assert len(history) == 9 + 3 + 1 + 1  # events, annotations, the demonstration, and ours
        assert {"revision": 2, "ranks": [1, 3, 2]} in [event["detail"] for event in history]
    with (
        closing(sqlite3.connect(tmp_path / "old.sqlite")) as old,
        pytest.raises(sqlite3.IntegrityError, match="only ever added"),
    ):
        old.execute("DELETE FROM annotations")
