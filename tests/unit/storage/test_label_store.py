"""The label store: what may be recorded, revisions, idempotence, crashes, a full disk."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import count, product
from pathlib import Path
from typing import Any

import psycopg
import pytest

from instructgpt.data.records import Message, Prompt, Ranking
from instructgpt.errors import DataError, LabelError, RunDirError
from instructgpt.storage.annotation import check_ranks, dense_ranks
from instructgpt.storage.label_store import LabelStore

SOURCE = Path(__file__).parents[3] / "src"
PROMPT = Prompt((Message("user", "谁养猫？"),), id="p1", user="u1", meta={"task": "qa"}).to_dict()
REFUSALS = (sqlite3.IntegrityError, psycopg.IntegrityError)
COMPLETIONS = [
    {"text": "小明。", "model": "ab12", "sampling": {"temperature": 1.0, "seed": 5}},
    {"text": "", "model": "ab12", "sampling": {"temperature": 1.0, "seed": 6}},
    "I do not know.",
]


@pytest.fixture
def store(address: str) -> Iterator[LabelStore]:
    ticks = count()
    with LabelStore(address, clock=lambda: f"t{next(ticks)}") as opened:
        opened.add_labeler("ann")
        opened.add_labeler("bob", kind="simulated", meta={"noise": 0.2})
        yield opened


def test_a_label_comes_back_as_a_ranking_record(store: LabelStore) -> None:
    task = store.add_task(PROMPT, COMPLETIONS, meta={"round": 1})
    store.submit(
        task,
        "bob",
        [1, 3, 1],
        client_uuid="u-1",
        ratings=[7, None, 6],
        flags={"ambiguous": False, "hallucination": [False, None, True]},
        use_case="generation",
        notes="短",
        seconds=12.5,
        order=[2, 0, 1],
    )
    (row,) = store.rankings()
    ranking = Ranking.from_dict(row)
    assert ranking.prompt == Prompt.from_dict(PROMPT)
    assert ranking.completions == ("小明。", "", "I do not know.")
    assert ranking.ranks == (1, 2, 1)  # written with gaps, read without
    assert ranking.labeler == "bob"
    assert ranking.meta == {
        "task": task,
        "revision": 1,
        "labeler_kind": "simulated",
        "models": ["ab12", "ab12", None],
        "sampling": [{"temperature": 1.0, "seed": 5}, {"temperature": 1.0, "seed": 6}, {}],
        "ratings": [7, None, 6],
        "flags": {"ambiguous": False, "hallucination": [False, None, True]},
        "use_case": "generation",
        "notes": "短",
        "seconds": 12.5,
        "order": [2, 0, 1],
        "created_at": "t3",
        "task_meta": {"round": 1},
    }


def test_the_same_task_and_labeler_are_stored_once(store: LabelStore, outside) -> None:
    task = store.add_task(PROMPT, COMPLETIONS)
    same_messages = {"prompt": PROMPT["prompt"], "id": "another name"}
    assert store.add_task(same_messages, COMPLETIONS) == task
    others = {
        store.add_task(PROMPT, COMPLETIONS[:2]),
        store.add_task(PROMPT, COMPLETIONS[::-1]),
        store.add_task(PROMPT, [{"text": "小明。", "model": "cd34"}, *COMPLETIONS[1:]]),
    }
    assert len(others | {task}) == 4
    assert store.add_labeler("ann", kind="model") == store.add_labeler("ann")
    assert store.counts() == {"labelers": 2, "tasks": 4, "annotations": 0, "rankings": 0}
    keys = {key for (key,) in outside("SELECT prompt_key FROM tasks")}
    assert keys == {Prompt.from_dict(PROMPT).key}


def test_the_last_revision_counts_and_history_stays(store: LabelStore, outside) -> None:
    task = store.add_task(PROMPT, COMPLETIONS)
    store.submit(task, "ann", [1, 2, 3], client_uuid="u-1")
    store.submit(task, "bob", [2, 1, 2], client_uuid="u-2")
    store.submit(task, "ann", [3, 2, 1], client_uuid="u-3")
    found = [(r["labeler"], r["ranks"], r["meta"]["revision"]) for r in store.rankings()]
    assert found == [("ann", [3, 2, 1], 2), ("bob", [2, 1, 2], 1)]
    assert store.counts() == {"labelers": 2, "tasks": 1, "annotations": 3, "rankings": 2}
    history = outside("SELECT ranks_json FROM annotations ORDER BY id")
    assert history == [("[1,2,3]",), ("[2,1,2]",), ("[3,2,1]",)]


@pytest.mark.parametrize(
    "statement", ["UPDATE annotations SET notes = ''", "DELETE FROM annotations"]
)
def test_history_cannot_be_changed_even_from_outside(
    store: LabelStore, outside, statement: str
) -> None:
    task = store.add_task(PROMPT, COMPLETIONS)
    store.submit(task, "ann", [1, 2, 3], client_uuid="u-1")
    with pytest.raises(REFUSALS, match="only ever added"):
        outside(statement)


def test_a_submission_sent_twice_is_stored_once(store: LabelStore) -> None:
    task = store.add_task(PROMPT, COMPLETIONS)
    first = store.submit(task, "ann", [1, 2, 3], client_uuid="u-1", seconds=3, flags={"x": True})
    again = store.submit(task, "ann", [1, 2, 3], client_uuid="u-1", seconds=3.0, flags={"x": True})
    assert again == first
    for labeler, ranks in (("ann", [2, 1, 3]), ("bob", [1, 2, 3])):
        with pytest.raises(LabelError, match="'u-1' was already used differently"):
            store.submit(task, labeler, ranks, client_uuid="u-1", seconds=3, flags={"x": True})
    assert store.counts()["annotations"] == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ranks": [1, 2]}, "ranks: 2 given, and the task has 3 completions"),
        ({"ranks": [0, 1, 2]}, "whole number 1 to 3"),
        ({"ranks": [1, 2, 4]}, "whole number 1 to 3"),
        ({"ranks": [1, 2.0, 3]}, "whole number"),
        ({"ranks": [True, 2, 3]}, "whole number"),
        ({"ranks": [2, 2, 3]}, r"no gaps \(\[1, 1, 2\]\), or gaps only after ties \(\[1, 1, 3\]\)"),
        ({"ranks": [1, 3, 3]}, "expected 1 for the best"),
        ({"ratings": [1, 8, 3]}, "1 to 7"),
        ({"ratings": [1, 3]}, "ratings: 2 given"),
        ({"flags": {"hallucination": [True, False]}}, "flag 'hallucination': 2 given"),
        ({"flags": {"ambiguous": 0.5}}, "true, false or null"),
        ({"seconds": -1.0}, "seconds"),
        ({"seconds": float("nan")}, "seconds"),
        ({"order": [0, 1, 1]}, "each of 0 to 2"),
        ({"labeler": "eve"}, "no labeler 'eve'"),
        ({"task_id": 99}, "no task 99"),
    ],
)
def test_a_label_that_does_not_fit_is_refused(
    store: LabelStore, wrong: dict[str, Any], message: str
) -> None:
    task = store.add_task(PROMPT, COMPLETIONS)
    good = {"task_id": task, "labeler": "ann", "ranks": [1, 2, 3], "client_uuid": "u-1"}
    with pytest.raises(LabelError, match=message):
        store.submit(**(good | wrong))
    assert store.counts()["annotations"] == 0


@pytest.mark.parametrize("num_completions", [2, 3, 4])
def test_accepted_ranks_are_exactly_the_dense_and_the_competition_ones(
    num_completions: int,
) -> None:
    # brute force: rank every possible order with ties in both ways
    legal = set()
    for levels in product(range(num_completions), repeat=num_completions):
        distinct = sorted(set(levels))
        dense = tuple(distinct.index(level) + 1 for level in levels)
        legal |= {dense, tuple(sorted(levels).index(level) + 1 for level in levels)}
    accepted = set()
    for ranks in product(range(num_completions + 2), repeat=num_completions):
        try:
            check_ranks(ranks, num_completions)
        except LabelError:
            continue
        accepted.add(ranks)
    assert accepted == legal


def test_dense_ranks_close_gaps_and_keep_ties() -> None:
    assert dense_ranks([5, 2, 2, 9]) == [2, 1, 1, 3]


@pytest.mark.parametrize("num_completions", [1, 10])
def test_a_task_has_two_to_nine_completions(store: LabelStore, num_completions: int) -> None:
    with pytest.raises(LabelError, match=f"2 to 9 completions, not {num_completions}"):
        store.add_task(PROMPT, [str(i) for i in range(num_completions)])


@pytest.mark.parametrize(
    ("prompt", "completions", "message"),
    [
        ({"prompt": []}, ["a", "b"], "at least one message"),
        ({"text": "hi"}, ["a", "b"], "lacks 'prompt'"),
        (PROMPT, ["a", {"model": "x"}], "a completion is a text or"),
        (PROMPT, ["a", {"text": "b", "modle": "x"}], "modle"),
    ],
)
def test_a_broken_task_is_refused(
    store: LabelStore, prompt: dict[str, Any], completions: list[Any], message: str
) -> None:
    with pytest.raises(LabelError, match=message):
        store.add_task(prompt, completions)
    assert store.counts()["tasks"] == 0


def test_a_bulk_is_stored_together_or_not_at_all(store: LabelStore) -> None:
    def bulk(num_labels: int, fail: bool) -> None:
        with store.transaction():
            for i in range(num_labels):
                task = store.add_task(PROMPT, [str(i), "other"])
                store.submit(task, "bob", [1, 2], client_uuid=f"u-{i}")
            if fail:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bulk(50, fail=True)
    assert store.counts()["tasks"] == 0
    bulk(50, fail=False)
    bulk(50, fail=False)
    assert store.counts() == {"labelers": 2, "tasks": 50, "annotations": 50, "rankings": 50}


def test_threads_share_one_store(store: LabelStore) -> None:
    task = store.add_task(PROMPT, COMPLETIONS)

    def label(name: str) -> None:
        for i in range(20):
            store.submit(task, name, [1, 2, 3], client_uuid=f"{name}-{i}")

    threads = [threading.Thread(target=label, args=(name,)) for name in ("ann", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [row["meta"]["revision"] for row in store.rankings()] == [20, 20]


def test_rankings_are_a_snapshot(store: LabelStore) -> None:
    tasks = [store.add_task(PROMPT, [str(i), "x"]) for i in range(3)]
    for task in tasks[:2]:
        store.submit(task, "ann", [1, 2], client_uuid=f"u-{task}")
    rows = store.rankings()
    seen = [next(rows)]
    store.submit(tasks[2], "ann", [1, 2], client_uuid="late")
    seen += rows
    assert [row["meta"]["task"] for row in seen] == tasks[:2]
    assert len(list(store.rankings())) == 3


LABELER = """
import sys
from instructgpt.storage.label_store import LabelStore
store = LabelStore(sys.argv[1])
store.add_labeler("ann")
for i in range(200):
    task = store.add_task({"prompt": [{"role": "user", "content": str(i)}]}, ["a", "b"])
    store.submit(task, "ann", [1, 1 + i % 2], client_uuid=f"u-{i}")
    print(i, flush=True)
store.close()
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_kill_9_between_or_inside_submissions_loses_nothing(address: str, outside) -> None:
    command = [sys.executable, "-c", LABELER, address]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    for acknowledged in (1, 7, 60):
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(acknowledged):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        with LabelStore(address) as store:
            assert store.counts()["annotations"] >= acknowledged
            if "://" not in address:
                assert outside("PRAGMA integrity_check") == [("ok",)]
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    with LabelStore(address) as store:
        assert store.counts() == {"labelers": 1, "tasks": 200, "annotations": 200, "rankings": 200}
        assert [row["ranks"] for row in store.rankings()] == [[1, 1], [1, 2]] * 100


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
def test_a_full_disk_is_one_line_and_keeps_what_was_stored(store: LabelStore) -> None:
    task = store.add_task(PROMPT, COMPLETIONS)
    store.submit(task, "ann", [1, 2, 3], client_uuid="u-1")
    with store.transaction():
        pages = store.execute("PRAGMA page_count").scalar_one()
        store.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(RunDirError, match=r"labels\.sqlite': database or disk is full; check free"):
        store.submit(task, "ann", [3, 2, 1], client_uuid="u-2", notes="x" * 100_000)
    assert [row["ranks"] for row in store.rankings()] == [[1, 2, 3]]
    with store.transaction():
        store.execute(f"PRAGMA max_page_count = {pages + 100}")
    store.submit(task, "ann", [3, 2, 1], client_uuid="u-2", notes="x" * 100_000)
    assert [row["ranks"] for row in store.rankings()] == [[3, 2, 1]]


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "rankings.jsonl").write_text(json.dumps(PROMPT) * 100)
    with pytest.raises(DataError, match=r"rankings\.jsonl': file is not a database"):
        LabelStore(tmp_path / "rankings.jsonl")


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunDirError, match="unable to open database file"):
        LabelStore(tmp_path / "nowhere" / "labels.sqlite")
