"""What is PostgreSQL's alone: many processes at once, addresses with passwords, its refusals."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import traceback
from collections import Counter
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from typer.testing import CliRunner, Result

from instructgpt.cli.main import app
from instructgpt.data.records import Prompt
from instructgpt.errors import ConfigError, DataError, LabelError, RunDirError
from instructgpt.storage.label_store import LabelStore
from instructgpt.storage.postgres import PostgresDatabase, dump_command, without_password

LABELERS = """
import json, sys, threading
from instructgpt.storage.annotation import Annotation
from instructgpt.storage.label_access import Person
from instructgpt.storage.label_answers import LabelAnswers
from instructgpt.storage.label_desk import LabelDesk
from instructgpt.storage.label_store import LabelStore

def work(store, name):
    person = Person(store.add_labeler(name), name, "labeler")
    desk = LabelDesk(store)
    while (task := desk.next(person)) is not None:
        uuid = f"{name}-{task.task_id}"
        for _ in range(2):  # as somebody does whose receipt got lost
            LabelAnswers(desk).submit_ranking(person, task.id, Annotation([1, 2]), uuid)
        print(json.dumps([task.task_id, uuid]), flush=True)

with LabelStore(sys.argv[1]) as store:
    print("ready", flush=True)
    sys.stdin.readline()  # everybody at once
    names = [f"{sys.argv[2]}{i}" for i in range(4)]
    threads = [threading.Thread(target=work, args=(store, name)) for name in names]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_processes_that_take_and_submit_at_once_get_every_task_once(postgres) -> None:
    address, tasks = postgres.fresh(), 60
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", LABELERS, address, f"process {number} "],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for number in range(3)
    ]  # fmt: skip
    with LabelStore(address) as store:  # who comes first migrates, and the others wait
        with store.transaction():
            for number in range(tasks):
                store.add_task(Prompt.from_text(f"prompt {number}").to_dict(), ["a", "b"])
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        said = [process.communicate()[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0, 0]
        receipts = [json.loads(line) for lines in said for line in lines.splitlines()]
        assert sorted(task for task, _ in receipts) == list(range(1, tasks + 1))
        with store.transaction():
            stored = store.execute("SELECT task_id, client_uuid FROM annotations").all()
            handed = store.execute("SELECT task_id FROM events WHERE kind = 'assigned'").all()
        assert sorted(map(tuple, stored)) == sorted(map(tuple, receipts))
        assert set(Counter(handed).values()) == {1}
    assert all(said), "somebody came too late, and nothing was tested"


@pytest.mark.parametrize("verb", ["UPDATE", "DELETE", "TRUNCATE"])
@pytest.mark.parametrize("table", ["annotations", "completions", "demonstrations", "events"])
def test_history_is_kept_from_every_verb(postgres, table: str, verb: str) -> None:
    address = postgres.fresh()
    with LabelStore(address) as store:
        store.add_labeler("ann")
        task = store.add_task(Prompt.from_text("q").to_dict(), ["a", "b"])
        store.submit(task, "ann", [1, 2], client_uuid="u")
        with store.transaction():
            if table == "demonstrations":
                store.execute(
                    "INSERT INTO demonstrations VALUES (1, 1, 1, 'u', 1, '', '', NULL, '', '')"
                )
            if table == "events":
                store.execute("INSERT INTO events VALUES (1, 'k', 'a', 1, 1, '{}', '', '')")
    statement = {
        "UPDATE": f"UPDATE {table} SET task_id = task_id",
        "DELETE": f"DELETE FROM {table}",
        "TRUNCATE": f"TRUNCATE {table}",
    }[verb]
    with (
        closing(psycopg.connect(address)) as outside,
        pytest.raises(psycopg.IntegrityError, match=f"{table} are only ever added"),
    ):
        outside.execute(statement)


def test_a_connection_that_was_cut_is_made_again(postgres) -> None:
    with LabelStore(postgres.fresh()) as store, closing(postgres.master()) as master:
        store.add_labeler("ann")
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'labels'"
        assert len(master.execute(cut).fetchall()) >= 1
        assert store.counts()["labelers"] == 1

        def be_cut_halfway() -> None:
            with store.transaction():
                store.add_labeler("bob")
                master.execute(cut)
                store.add_labeler("cem")

        with pytest.raises(RunDirError, match="what was stored before is safe"):
            be_cut_halfway()
        assert store.counts()["labelers"] == 1


def test_a_writer_that_waits_too_long_is_told(postgres, monkeypatch) -> None:
    monkeypatch.setattr(
        PostgresDatabase, "_WRITE", PostgresDatabase._WRITE.replace("'30s'", "'50ms'")
    )
    address = postgres.fresh()
    with LabelStore(address) as first, LabelStore(address) as second, first.transaction():
        with pytest.raises(RunDirError, match="lock timeout"):
            second.add_labeler("ann")
        first.add_labeler("bob")


def test_a_text_that_it_cannot_hold_is_refused_and_named(postgres) -> None:
    with LabelStore(postgres.fresh()) as store:
        with pytest.raises(LabelError, match=r"the store cannot hold this text: .*NUL"):
            store.add_task(Prompt.from_text("q").to_dict(), ["a\0", "b"])
        assert store.counts()["tasks"] == 0


def test_what_an_extension_brings_is_nobodys(postgres) -> None:
    with closing(postgres.master("labels")) as master:
        master.execute("CREATE SCHEMA extended AUTHORIZATION labels")
        found = master.execute(
            "SELECT 1 FROM pg_available_extensions WHERE name = 'pg_stat_statements'"
        ).fetchone()
        if found is None:
            pytest.skip("no extension here that brings a view: apt install postgresql-contrib")
        master.execute("CREATE EXTENSION pg_stat_statements SCHEMA extended")
    LabelStore(postgres.url(options="-csearch_path=extended")).close()


def test_a_schema_version_further_down_the_search_path_is_not_ours(postgres) -> None:
    with closing(postgres.master("labels")) as master:
        for name in ("mine", "shared"):
            master.execute(f"CREATE SCHEMA {name} AUTHORIZATION labels")
        master.execute("CREATE TABLE shared.schema_version (version BIGINT)")
        master.execute("INSERT INTO shared.schema_version VALUES (3)")
    with LabelStore(postgres.url(options="-csearch_path=mine,shared")) as store:
        assert store.counts()["tasks"] == 0


def test_a_search_path_without_a_schema_is_told(postgres) -> None:
    with pytest.raises(RunDirError, match="no schema has been selected to create in"):
        LabelStore(postgres.url(options="-csearch_path=nowhere"))


def test_a_database_that_cannot_hold_every_language_is_refused(postgres) -> None:
    with closing(postgres.master()) as master:
        master.execute(
            "CREATE DATABASE latin OWNER labels ENCODING LATIN1 LOCALE 'C' TEMPLATE template0"
        )
    with pytest.raises(DataError, match=r"in LATIN1, .* --encoding UTF8"):
        LabelStore(postgres.url("latin"))


def test_a_role_without_rights_is_told(postgres) -> None:
    with closing(postgres.master("labels")) as master:
        master.execute("CREATE SCHEMA theirs")
        master.execute("GRANT USAGE ON SCHEMA theirs TO labels")
    with pytest.raises(RunDirError, match="permission denied for schema theirs"):
        LabelStore(postgres.url(options="-csearch_path=theirs"))


def test_no_password_gets_into_what_is_said(postgres, tmp_path, caplog) -> None:
    wrong = f"postgresql://labels:s3cret-pw@127.0.0.1:{postgres.port}/labels"
    closed = "postgresql://labels:s3cret-pw@127.0.0.1:1/labels"
    for address, kind, message in (
        (wrong, RunDirError, "password authentication failed"),
        (postgres.url("nowhere"), RunDirError, 'database "nowhere" does not exist'),
        (closed, RunDirError, "refused"),
        ("postgres://labels:s3cret-pw@127.0.0.1:1/labels", RunDirError, "refused"),
        ("postgresql://labels@127.0.0.1:1/labels?password=s3cret-pw", ConfigError, "before the @"),
        ("postgresql://labels:a:s3cret-pw/x@h:p/labels", ConfigError, "write @ : / in a password"),
        ("postgresql://labels:b@s3cret-pw:c/labels", ConfigError, "write @ : / in a password"),
        ("mysql://labels:s3cret-pw@127.0.0.1/labels", ConfigError, "a store is an SQLite file"),
        ("postgresql+asyncpg://l:s3cret-pw@h/labels", ConfigError, "a store is an SQLite file"),
        ("postgresql:/labels:s3cret-pw@h/labels", ConfigError, "a store is an SQLite file"),
        ("postgres:labels:s3cret-pw@h/labels", ConfigError, "a store is an SQLite file"),
        ("PostgreSQL://labels:s3cret-pw@h/labels", ConfigError, "a store is an SQLite file"),
        (Path(wrong), ConfigError, "pass it as text"),
    ):
        with pytest.raises(kind, match=message) as caught:
            LabelStore(address)
        assert "\n" not in str(caught.value)
        said = "".join(traceback.format_exception(caught.value))
        assert "s3cret-pw" not in said
        assert postgres.password not in said
        assert quote(postgres.password, safe="") not in said
    rows = tmp_path / "answers.jsonl"
    rows.write_text('{"prompt": "q", "completions": ["a", "b"]}\n')
    for words in (
        ("import", rows, "--store", closed),
        ("serve", "--store", wrong),
        ("invite", "ann", "--store", wrong),
        ("export", "--store", wrong, "--out", tmp_path / "out"),
        ("backup", "--store", wrong, "--out", tmp_path / "out"),
    ):
        said = call("label", *words)
        assert (said.exit_code, said.stderr.count("\n")) == (2, 1), said.output
        assert "s3cret-pw" not in said.output
        assert "labels:***@127.0.0.1" in said.output
    assert "s3cret-pw" not in caplog.text
    with LabelStore(postgres.fresh()) as store:
        assert store.where == f"postgresql://labels:***@127.0.0.1:{postgres.port}/labels"


@pytest.mark.parametrize(
    "words",
    [
        "label --world world --people",
        "sft --model gpt2 --demonstrations",
        "dpo --model gpt2 --rankings",
    ],
)
def test_a_run_is_made_from_files_and_keeps_no_password(tmp_path, words: str) -> None:
    address = "postgresql://labels:s3cret-pw@127.0.0.1:1/labels"
    said = call(*words.split(), address, "--out", tmp_path / "run")
    assert said.exit_code == 2
    assert "`instructgpt label export` writes them" in said.stderr
    assert "s3cret-pw" not in said.output
    assert not (tmp_path / "run").exists()


def test_without_psycopg_the_remedy_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"needs psycopg: pip install 'instructgpt\[postgres\]'"):
        LabelStore("postgresql://h/labels")


def test_psycopg_that_cannot_be_loaded_is_one_line() -> None:
    """As where it was installed without libpq, and libpq is not there either."""
    said = subprocess.run(
        [sys.executable, "-m", "instructgpt", "label", "serve", "--store", "postgresql://h/labels"],
        env={**os.environ, "PSYCOPG_IMPL": "none"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (said.returncode, said.stderr.count("\n")) == (2, 1), said.stderr
    assert "pip install 'instructgpt[postgres]' (it cannot be loaded: requested" in said.stderr


@pytest.mark.skipif(
    shutil.which("pg_dump") is None, reason="no pg_dump on PATH: apt install postgresql-client"
)
def test_a_backup_goes_into_an_empty_database(postgres, tmp_path) -> None:
    address, out = postgres.fresh_database("before"), tmp_path / "monday.dump"
    assert "no label store at" in call("label", "backup", "--store", address, "--out", out).stderr
    with LabelStore(address) as store:
        store.add_labeler("ann")
        task = store.add_task(Prompt.from_text("猫").to_dict(), ["a", "b"])
        store.submit(task, "ann", [2, 1], client_uuid="u")
        rankings = list(store.rankings())
    said = call("label", "backup", "--store", address, "--out", out)
    assert said.exit_code == 0, said.output
    assert f"{out}: pg_restore" in said.stdout
    assert call("label", "backup", "--store", address, "--out", out).exit_code == 2
    other = postgres.fresh_database("after")
    restore = ["pg_restore", "--exit-on-error", f"--dbname={other}", str(out)]
    subprocess.run(restore, check=True, capture_output=True)
    with LabelStore(other) as store:
        assert list(store.rankings()) == rankings
        assert store.submit(task, "ann", [1, 2], client_uuid="v") == 2
    with closing(psycopg.connect(other)) as outside, pytest.raises(psycopg.IntegrityError):
        outside.execute("DELETE FROM annotations")


def test_pg_dump_hears_the_password_where_nobody_else_does() -> None:
    command, environment = dump_command("postgresql://ann:s3cret%2Fpw@h:5/labels?sslmode=require")
    assert "s3cret" not in " ".join(command)
    assert command[-1].startswith("--dbname=postgresql://ann@h:5/labels?")
    assert "sslmode=require" in command[-1]
    assert environment == {"PGPASSWORD": "s3cret/pw"}
    assert dump_command("postgresql:///labels?host=/run")[1] == {}
    assert without_password("postgres://ann@h/labels") == "postgres://ann@h/labels"


def test_without_pg_dump_the_command_is_named(postgres, tmp_path, monkeypatch) -> None:
    address = postgres.fresh()
    LabelStore(address).close()
    monkeypatch.setenv("PATH", str(tmp_path))
    said = call("label", "backup", "--store", address, "--out", tmp_path / "copy")
    assert said.exit_code == 2
    assert "run: pg_dump --format=custom --dbname=postgresql://labels@127.0.0.1" in said.stderr
    assert "p%40ss" not in said.stderr
    assert list(tmp_path.iterdir()) == []
