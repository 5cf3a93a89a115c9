"""Leak tests of stage `data`: no user and no near-duplicate on both sides, by brute force."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from instructgpt.data.hygiene.wording import words
from instructgpt.errors import DataError
from instructgpt.pipeline.run import run_stage

SIDES = {
    "documents": "documents_heldout",
    "demonstrations": "demonstrations_valid",
    "rankings": "rankings_heldout",
    "prompts_train": "prompts_heldout",
}


def write(path: Path, rows: Iterable[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def both_sides(out: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    train = [row for name in SIDES for row in _rows(out, name)]
    return train, [row for name in SIDES.values() for row in _rows(out, name)]


def _rows(out: Path, name: str) -> list[dict[str, Any]]:
    path = out / f"{name}.jsonl"
    return read(path) if path.exists() else []


def triples(row: dict[str, Any]) -> frozenset[tuple[str, ...]]:
    turns = row.get("prompt") or [{"role": "user", "content": row["text"]}]
    own = words("\n".join(turn["content"] for turn in turns if turn["role"] != "system"))
    return frozenset(tuple(own[i : i + 3]) for i in range(max(len(own) - 2, 1))) if own else own


def assert_no_leak(out: Path, threshold: float = 0.8) -> None:
    """Every training row against every held-out row, with plain sets."""
    train, heldout = both_sides(out)
    assert train
    assert heldout
    users = [{row["user"] for row in side if "user" in row} for side in (train, heldout)]
    assert not users[0] & users[1]
    for ours, theirs in product({triples(row) for row in train}, {triples(row) for row in heldout}):
        # no more than the smaller can be shared: saves most of the sets' work
        small, large = sorted((len(ours), len(theirs)))
        if large and small >= threshold * large:
            assert len(ours & theirs) < threshold * len(ours | theirs), (ours, theirs)


def noisy(count: int) -> list[dict[str, Any]]:
    """Prompts of users; half of them another one with its last word changed."""
    draw = random.Random(11)
    names = [f"w{i}" for i in range(400)]
    rows: list[dict[str, Any]] = []
    for _ in range(count):
        if rows and draw.random() < 0.5:
            text = " ".join([*draw.choice(rows)["prompt"].split()[:-1], draw.choice(names)])
        else:
            text = " ".join(draw.choices(names, k=draw.randrange(3, 30)))
        rows.append({"prompt": text, "user": f"u{draw.randrange(count)}"})
    return rows


@pytest.mark.parametrize(
    "hygiene", [[], ["hygiene.similarity=none", "hygiene.prefix_words=none"]], ids=["drop", "keep"]
)
def test_no_user_and_no_near_duplicate_on_both_sides(hygiene: list[str], tmp_path: Path) -> None:
    rows = noisy(300)
    answered = [{**row, "completion": "yes"} for row in rows[::2]]
    ranked = [{**row, "chosen": "a", "rejected": "b"} for row in rows[1::2]]
    documents = [{"text": row["prompt"]} for row in rows]
    files = {
        "demonstrations": write(tmp_path / "d.jsonl", answered),
        "rankings": write(tmp_path / "r.jsonl", ranked),
        "documents": write(tmp_path / "t.jsonl", documents),
    }
    flags = [*(f"{kind}={path}" for kind, path in files.items()), "valid_fraction=0.4", *hygiene]
    out = tmp_path / "out"
    summary = run_stage("data", out, flags=flags).summary
    assert_no_leak(out)
    assert len(read(out / "removals.jsonl")) == summary["removed"]
    assert (summary["removed"] > 100) == (not hygiene)
    assert summary["removed"] < 600


def test_without_clusters_the_same_rows_would_leak(tmp_path: Path) -> None:
    """The brute force above can fail: by user alone, near-duplicates of two users part."""
    path = write(tmp_path / "p.jsonl", noisy(300))
    flags = [f"prompts={path}", "valid_fraction=0.4", "split_by=user", "hygiene.similarity=none"]
    run_stage("data", tmp_path / "out", flags=flags)
    with pytest.raises(AssertionError):
        assert_no_leak(tmp_path / "out")


def test_an_organisation_is_not_split(tmp_path: Path) -> None:
    rows = [{"prompt": f"question {i}", "user": f"u{i}", "org": f"o{i % 9}"} for i in range(90)]
    path = write(tmp_path / "p.jsonl", rows)
    flags = [f"prompts={path}", "valid_fraction=0.4", "hygiene.user_key=org"]
    run_stage("data", tmp_path / "out", flags=flags)
    train, heldout = both_sides(tmp_path / "out")
    sides = [{row["meta"]["org"] for row in side} for side in (train, heldout)]
    assert not sides[0] & sides[1]
    assert sides[0] | sides[1] == {f"o{i}" for i in range(9)}


def test_evaluation_prompts_are_on_neither_side(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", [{"prompt": f"What is {i} plus two?"} for i in range(60)])
    asked = write(tmp_path / "e.jsonl", [{"prompt": f"what is {i} plus two"} for i in range(5)])
    flags = [f"prompts={path}", "valid_fraction=0.4", f"hygiene.evaluation={asked}"]
    summary = run_stage("data", tmp_path / "out", flags=flags).summary
    assert summary["removals"][path] == {"records": 60, "contaminated": 5, "kept": 55}
    removed = read(tmp_path / "out/removals.jsonl")
    assert [one["evidence"]["other"]["row"] for one in removed] == [1, 2, 3, 4, 5]


def test_a_file_that_is_emptied_is_an_error_and_a_halved_one_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "p.jsonl", [{"prompt": f"mail a{i}@b.org"} for i in range(9)])
    with pytest.raises(DataError, match="prompts_train: hygiene removes all 9 records"):
        run_stage("data", tmp_path / "a", flags=[f"prompts={path}"])
    template = "word " * 50
    path = write(tmp_path / "q.jsonl", [{"prompt": f"{template} {i} {i}"} for i in range(9)])
    other = write(tmp_path / "o.jsonl", [{"prompt": f"ask {i}"} for i in range(30)])
    run_stage("data", tmp_path / "b", flags=[f"prompts={path}", f"--prompts={other}"])
    assert "hygiene removes most of it: records 9, prefix_duplicate 8, kept 1" in caplog.text


def test_real_files_do_not_leak(real_data: Path, tmp_path: Path) -> None:
    flags = [
        f"demonstrations={real_data / 'sft_zh/chatglm_efficient_tuning/oaast_sft_zh.json'}",
        f"rankings={real_data / 'pref/chatglm_efficient_tuning/oaast_rm_zh.json'}",
        f"prompts={real_data / 'prompts/instructionwild/user_1.jsonl'}",
        f"hygiene.evaluation={real_data / 'eval/ifeval/input_data.jsonl'}",
        "valid_fraction=0.3",
    ]
    run_stage("data", tmp_path / "out", flags=flags)
    assert_no_leak(tmp_path / "out")
    reasons = {one["reason"] for one in read(tmp_path / "out/removals.jsonl")}
    assert {"exact_duplicate", "near_duplicate", "prefix_duplicate", "personal_data"} <= reasons
