"""A user's prompts are gone from files and stores, byte for byte, and everything else is not."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner, Result

from instructgpt.cli.main import app
from instructgpt.data.records import Prompt
from instructgpt.errors import DataError
from instructgpt.storage.annotation import Annotation
from instructgpt.storage.fingerprint import fingerprint_file
from instructgpt.storage.forgetting import forget_rows, runs_made_from
from instructgpt.storage.label_access import LabelAccess
from instructgpt.storage.label_answers import LabelAnswers
from instructgpt.storage.label_desk import LabelDesk
from instructgpt.storage.label_forgetting import forget_user
from instructgpt.storage.label_review import LabelReview
from instructgpt.storage.label_store import LabelStore
from instructgpt.storage.manifest import describe_identity, new_manifest

SECRETS = [f"the-{word}-that-nobody-must-see" for word in ("prompt", "answer", "note", "draft")]
LINES = [
    b'{"user": "u1", "prompt": "a"}\n',
    '{"user": "u2",   "prompt": "\\u4f60 好"}\n'.encode(),
    b"\n",
    b'{"prompt": "u1"}\n',
    b'["user", "u1"]\n',
    b'{"user": "u1", "prompt": "b"}',
]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def desk(address: str) -> Iterator[LabelDesk]:
    with LabelStore(address) as store:
        fill(store)
        yield LabelDesk(store)


def fill(store: LabelStore, users: Sequence[str] = ("u1", "u2")) -> None:
    """A task of each user, in this order, with everything that can be said of a task."""
    desk, access = LabelDesk(store), LabelAccess(store)
    ann = access.who(access.sign_in(access.invite("ann")) or "")
    assert ann is not None
    prompt, answer, note, draft = SECRETS
    for user in users:
        prompt_of = Prompt.from_text(prompt if user == "u1" else "kept", user=user).to_dict()
        task = store.add_task(prompt_of, [f"{answer} {user}", "other"])
        number = desk.assign(task, ann.id, "lea")
        LabelAnswers(desk).submit_ranking(ann, number, Annotation([1, 2], notes=note), user * 9)
        desk.save_draft(ann, number, {"text": draft}, 0)
        LabelReview(store).decide("resolved", "lea", ann.id, task)


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
def test_nothing_of_a_forgotten_user_is_left_in_the_file(desk, tmp_path) -> None:
    store = desk.store
    files = [*tmp_path.glob("labels.sqlite*")]
    assert all(any(s.encode() in file.read_bytes() for file in files) for s in SECRETS)
    assert forget_user(store, "u1", "lea") == 1
    left = b"".join(file.read_bytes() for file in tmp_path.glob("labels.sqlite*"))
    assert SECRETS[0].encode() not in left
    assert left.count(SECRETS[1].encode() + b" u1") == 0
    assert left.count(SECRETS[1].encode() + b" u2") == 1
    assert left.count(SECRETS[2].encode()) == left.count(SECRETS[3].encode()) == 1  # u2's
    (row,) = store.rankings()
    assert row["user"] == "u2"
    assert forget_user(store, "u1", "lea") == 0
    assert forget_user(store, "nobody", "lea") == 0


def test_nothing_of_a_forgotten_user_is_left_in_the_server_s_tables(postgres) -> None:
    address = postgres.fresh_database("forgetting")
    with closing(postgres.master("forgetting")) as master:
        folder = Path(*master.execute(
            "SELECT current_setting('data_directory'), 'base', oid::text FROM pg_database "
            "WHERE datname = current_database()"
        ).fetchone())  # fmt: skip

        def content() -> bytes:
            master.execute("CHECKPOINT")
            return b"".join(file.read_bytes() for file in folder.iterdir())

        with LabelStore(address) as store:
            fill(store, ("u2", "u1"))  # what is last in a page stays there when it is deleted
            everything = content()
            assert all(secret.encode() in everything for secret in SECRETS)
            assert forget_user(store, "u1", "lea") == 1
            left = content()
            assert SECRETS[0].encode() not in left
            assert SECRETS[1].encode() + b" u1" not in left
            assert SECRETS[1].encode() + b" u2" in left
            (row,) = store.rankings()
            assert row["user"] == "u2"


def test_that_something_was_forgotten_is_itself_remembered(desk, outside) -> None:
    forget_user(desk.store, "u1", "lea")
    history = LabelReview(desk.store).history()
    assert [(e["kind"], e["detail"]) for e in history if e["task_id"] is None][-1] == (
        "forgotten",
        {"task": 1},
    )
    assert {e["task_id"] for e in history} == {None, 2}
    tasks = LabelReview(desk.store).tasks()
    assert [(task["id"], task["kind"], task["wanted"]) for task in tasks] == [
        (1, "forgotten", 0),
        (2, "rank", 1),
    ]
    again = desk.store.add_task(Prompt.from_text(SECRETS[0]).to_dict(), ["x", "y"])
    assert again == 3  # the number of what is gone belongs to nobody else
    for table in ("annotations", "completions", "events"):
        with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError), match="only ever"):
            outside(f"DELETE FROM {table}")


def test_rows_go_and_all_other_lines_keep_their_bytes(tmp_path) -> None:
    plain, packed = tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"
    plain.write_bytes(b"".join(LINES))
    packed.write_bytes(gzip.compress(b"".join(LINES)))
    assert forget_rows(plain, "u1") == forget_rows(packed, "u1") == 2
    assert plain.read_bytes() == gzip.decompress(packed.read_bytes()) == b"".join(LINES[1:5])
    before = plain.stat().st_mtime_ns
    assert forget_rows(plain, "u1") == 0
    assert plain.stat().st_mtime_ns == before


def test_a_broken_file_is_left_alone(tmp_path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES[0] + b"{no json}\n")
    with pytest.raises(DataError, match=r"a.jsonl:2: not JSON; nothing was changed"):
        forget_rows(path, "u1")
    assert path.read_bytes() == LINES[0] + b"{no json}\n"


def run(root: Path, name: str, parents: dict[str, str]) -> str:
    manifest = new_manifest(describe_identity("sft", {}, 0, parents))
    (root / name).mkdir(parents=True)
    (root / name / "manifest.json").write_text(json.dumps(manifest))
    return str(manifest["fingerprint"])


def test_runs_that_learned_from_it_are_named_and_no_others(tmp_path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_bytes(b"".join(LINES))
    changed = {source: fingerprint_file(source)}
    runs = tmp_path / "runs"
    data = run(runs, "data", {"rows.jsonl": changed[source]})
    sft = run(runs, "sft", {"data": data})
    run(runs, "ppo", {"sft": sft, "other": "f" * 64})
    run(runs, "dpo", {"other": "e" * 64})
    assert [path.name for path in runs_made_from(runs, changed)] == ["data", "ppo", "sft"]
    inside = runs / "dpo" / "prompts.jsonl"
    assert [p.name for p in runs_made_from(runs, {inside: "c" * 64})] == ["dpo"]


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
def test_the_command_takes_folders_and_leaves_what_is_no_label_store(desk, tmp_path) -> None:
    (tmp_path / "votes.jsonl").write_bytes(b"".join(LINES))
    with closing(sqlite3.connect(tmp_path / "other.sqlite")) as other:
        other.execute("CREATE TABLE tasks (id)")
    before = (tmp_path / "other.sqlite").read_bytes()
    said = call("data", "forget", "u1", tmp_path)
    assert said.exit_code == 0, said.output
    assert "1 tasks" in said.stdout
    assert "2 rows" in said.stdout
    assert (tmp_path / "other.sqlite").read_bytes() == before
    assert "nothing of 'u1' in 2 files" in call("data", "forget", "u1", tmp_path).stdout
    assert "no such file" in call("data", "forget", "u1", tmp_path / "none.jsonl").stderr
    (tmp_path / "a.csv").write_text("user\nu1\n")
    assert (
        "rows can be taken out of .jsonl" in call("data", "forget", "u1", tmp_path / "a.csv").stderr
    )


def test_the_command_takes_a_database_s_address(postgres, tmp_path) -> None:
    address = postgres.fresh()
    (tmp_path / "votes.jsonl").write_bytes(b"".join(LINES))
    mistaken = call("data", "forget", "u1", tmp_path / "votes.jsonl", address)
    assert mistaken.exit_code == 2
    assert "no label store at 'postgresql://labels:***@" in mistaken.stderr
    assert (tmp_path / "votes.jsonl").read_bytes() == b"".join(LINES)  # nothing was begun
    with LabelStore(address) as store:
        fill(store)
        said = call("data", "forget", "u1", tmp_path / "votes.jsonl", address)
        assert said.exit_code == 0, said.output
        assert f"1 tasks  {store.where}\n" in said.stdout
        assert [row["user"] for row in store.rankings()] == ["u2"]
