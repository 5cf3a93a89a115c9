"""The page about a loop: the numbers of its history and of its rounds' evaluations, and no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from instructgpt.evaluation.loop_report import loop_numbers, render_loop, write_loop_report
from instructgpt.loop.history import add_event
from instructgpt.storage.run_dir import RunDir

STRANGE = "<script>alert(1)</script>"


def rate(value: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 40}


def evaluated(root: Path, number: int, candidate: float, before: float) -> None:
    """What stage `evaluate` leaves behind, as far as the report reads it."""
    models = {
        name: {
            "win_rate": {"sampled": rate(0.6), "greedy": rate(0.7)},
            "conditions": {c: {"ok": {"overall": rate(ok)}} for c in ("sampled", "greedy")},
        }
        for name, ok in (("candidate", candidate), ("before", before))
    }
    with RunDir.open(root / "rounds" / f"{number:03d}" / "evaluate", "evaluate", {}, 0) as run:
        evaluation = {"reference": "before", "models": models}
        run.path("evaluation.json").write_text(json.dumps(evaluation))
        run.finish({})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two rounds: one promoted by somebody with a strange name, one that waits for prompts."""
    add_event(tmp_path, "begun", 0, "ann", name="helper", model="start/sft/model")
    add_event(tmp_path, "started", 1, "ann", served="start/sft/model")
    taken = {"demonstrate": 3, "rank": 4, "judge": 0, "ppo_new": 5, "left_out": {}}
    add_event(tmp_path, "collected", 1, "ann", **taken)
    add_event(tmp_path, "demonstrated", 1, "ann", new=3, demonstrations=9)
    add_event(tmp_path, "trained", 1, "ann", model="rounds/001/ppo/model")
    rule = {"decided_by": ["votes"], "alpha": 0.05, "max_votes": 50, "votes_per_user": 1}
    add_event(tmp_path, "opened", 1, "ann", against="round-0", **rule)
    add_event(tmp_path, "promoted", 1, STRANGE, why="better", votes=rate(0.75), judges=None)
    add_event(tmp_path, "started", 2, "ann", served="rounds/001/ppo/model")
    evaluated(tmp_path, 1, candidate=0.5, before=0.25)
    return tmp_path


def test_it_shows_what_the_history_and_the_evaluations_say(root) -> None:
    numbers = loop_numbers(root)
    first, second = numbers["rounds"]
    assert (first["votes"], first["sampled"]["value"], first["greedy"]["value"]) == (
        rate(0.75),
        0.6,
        0.7,
    )
    assert first["faultless"]["before"]["greedy"]["value"] == 0.25
    assert first["faultless"]["candidate"]["sampled"]["value"] == 0.5
    assert (second["state"], second["votes"], second["faultless"]) == ("started", None, None)
    html = render_loop(numbers)
    assert "0.75 [0.65, 0.85] of 40" in html
    assert "promoted, served" in html
    for title in ("Is each candidate better", "Faultless answers"):
        assert title in html
    assert "Thumbs up" not in html  # nobody gave one


def test_it_is_one_file_that_runs_nothing(root) -> None:
    page = write_loop_report(root)
    html = page.read_text(encoding="utf-8")
    assert STRANGE not in html
    assert "&lt;script&gt;" in html
    for outside in ("<script", "<link", "http://", "https://"):
        assert outside not in html.replace("http://www.w3.org", "")
    report = json.loads((root / "report.json").read_text(encoding="utf-8"))
    assert report == json.loads(json.dumps(loop_numbers(root)))
    assert write_loop_report(root).read_text(encoding="utf-8") == html


def test_a_loop_that_has_just_begun_has_a_report(tmp_path) -> None:
    add_event(tmp_path, "begun", 0, "ann", name="helper", model="start/sft/model")
    assert "round-0 is served" in write_loop_report(tmp_path).read_text(encoding="utf-8")
