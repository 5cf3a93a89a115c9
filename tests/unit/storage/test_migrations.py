"""Migrations: each step once, in order, whole or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from instructgpt.errors import DataError
from instructgpt.storage.label_store import LabelStore
from instructgpt.storage.migrations import MIGRATIONS, migrate


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    path = tmp_path / "old.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as opened:
        yield opened


def make_pets(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE pets (name TEXT)")
    connection.execute("INSERT INTO pets VALUES ('Tom')")


def add_kind(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE pets ADD COLUMN kind TEXT NOT NULL DEFAULT 'cat'")
    connection.execute("INSERT INTO pets VALUES ('Rex', 'dog')")


def version_of(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_an_older_file_gets_the_steps_it_lacks_and_keeps_its_rows(
    connection: sqlite3.Connection,
) -> None:
    assert migrate(connection, [make_pets]) == 1
    connection.execute("INSERT INTO pets VALUES ('Kit')")
    assert version_of(connection) == 1
    assert migrate(connection, [make_pets, add_kind]) == 1
    assert version_of(connection) == 2
    assert migrate(connection, [make_pets, add_kind]) == 0
    rows = connection.execute("SELECT * FROM pets").fetchall()
    assert rows == [("Tom", "cat"), ("Kit", "cat"), ("Rex", "dog")]


def test_a_step_that_fails_halfway_leaves_no_trace(connection: sqlite3.Connection) -> None:
    def broken(connection: sqlite3.Connection) -> None:
        add_kind(connection)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        migrate(connection, [make_pets, broken])
    assert version_of(connection) == 1
    assert connection.execute("SELECT * FROM pets").fetchall() == [("Tom",)]
    assert migrate(connection, [make_pets, add_kind]) == 1


def test_a_file_from_the_future_is_refused_and_left_alone(
    connection: sqlite3.Connection, tmp_path: Path
) -> None:
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(DataError, match="upgrade instructgpt"):
        LabelStore(tmp_path / "old.sqlite")
    assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


def test_the_label_store_is_at_the_newest_version(tmp_path: Path) -> None:
    path = tmp_path / "labels.sqlite"
    for _ in range(2):
        LabelStore(path).close()
        with closing(sqlite3.connect(path)) as raw:
            assert version_of(raw) == len(MIGRATIONS)
            assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with LabelStore(path) as store:
        assert store._connection.execute("PRAGMA foreign_keys").fetchone()[0] == 1
