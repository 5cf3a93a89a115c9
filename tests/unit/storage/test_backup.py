"""A backup is whole as of one moment, whoever writes meanwhile, or it is not there."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from instructgpt.cli.main import app
from instructgpt.data.records import Prompt
from instructgpt.errors import ConfigError, DataError, RunDirError
from instructgpt.storage.backup import back_up
from instructgpt.storage.label_store import LabelStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "labels.sqlite"
    with LabelStore(path) as store:
        store.add_labeler("ann")
        task = store.add_task(Prompt.from_text("q").to_dict(), ["a", "b"])
        with store.transaction():
            for number in range(200):
                store.submit(task, "ann", [1, 2], client_uuid=f"before {number}", notes="x" * 2000)
    return path


def uuids(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [u for (u,) in connection.execute("SELECT client_uuid FROM annotations ORDER BY id")]


def test_a_copy_made_while_somebody_writes_is_a_beginning_of_it(path, tmp_path) -> None:
    stop = threading.Event()

    def write() -> None:
        with LabelStore(path) as store:
            number = 0
            while not stop.is_set():
                store.submit(1, "ann", [2, 1], client_uuid=f"while {number}", notes="y" * 2000)
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            back_up(path, tmp_path / "copies" / f"{number}.sqlite")
    finally:
        stop.set()
        writer.join()
    everything = uuids(path)
    for number in range(5):
        copied = uuids(tmp_path / "copies" / f"{number}.sqlite")
        assert copied == everything[: len(copied)]
        assert len(copied) >= 200
    assert sorted(p.name for p in (tmp_path / "copies").iterdir()) == [
        f"{number}.sqlite" for number in range(5)
    ]  # nothing half, and no logs beside them
    with LabelStore(tmp_path / "copies" / "0.sqlite") as copy:
        assert copy.submit(1, "ann", [1, 2], client_uuid="after") > 200


def test_nothing_is_overwritten(path, tmp_path) -> None:
    (tmp_path / "copy.sqlite").write_text("precious")
    with pytest.raises(ConfigError, match="a backup replaces nothing"):
        back_up(path, tmp_path / "copy.sqlite")
    assert (tmp_path / "copy.sqlite").read_text() == "precious"


def test_what_is_damaged_is_not_passed_on(path, tmp_path) -> None:
    content = bytearray(path.read_bytes())
    for offset in range(4096 * 5, len(content) - 4096, 4096):
        content[offset : offset + 64] = b"\xff" * 64
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"labels\.sqlite"):
        back_up(path, tmp_path / "copy.sqlite")
    assert [p.name for p in tmp_path.iterdir() if "copy" in p.name] == []


def test_a_disk_that_refuses_is_one_line(path, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirError):
        back_up(path, tmp_path / "file" / "copy.sqlite")


def test_the_command_says_what_it_copied(path, tmp_path) -> None:
    out = tmp_path / "copy.sqlite"
    words = ["label", "backup", "--store", str(path), "--out", str(out)]
    said = CliRunner().invoke(app, words)
    assert "1 tasks, 200 annotations" in said.stdout
    assert uuids(out) == uuids(path)
    assert CliRunner().invoke(app, words).exit_code == 2
