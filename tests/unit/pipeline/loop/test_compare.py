"""The end of a round with real users: promoted, dropped, or waiting, by what they voted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from instructgpt.config.loop import load_loop
from instructgpt.errors import ConfigError, RunDirError
from instructgpt.loop.history import add_event, read_history
from instructgpt.loop.state import read_state
from instructgpt.pipeline.loop import compare as module
from instructgpt.pipeline.loop.compare import compare, open_comparison
from instructgpt.pipeline.loop.decisions import promote, roll_back
from instructgpt.pipeline.loop.run import after
from instructgpt.pipeline.loop.work import Waiting, Work
from instructgpt.pipeline.run import Observer

SETTINGS = """\
served: "@sft/model"
candidate: "@ppo/model"
start: {sft: {model: gpt2}}
round: {ppo: {model: "@served"}}
"""
RULE = {"decided_by": ["votes"], "alpha": 0.05, "max_votes": 60, "votes_per_user": 1}
WIN, TIE, LOSS = [1, 2], [1, 1], [2, 1]


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """A round whose candidate has just been put beside the served model."""
    path, root = tmp_path / "loop.yaml", tmp_path / "loop"
    path.write_text(SETTINGS)
    (root / "feedback").mkdir(parents=True)
    add_event(root, "begun", 0, "ann", name="loop", model="start/sft/model")
    add_event(root, "started", 1, "ann", served="start/sft/model")
    add_event(root, "trained", 1, "ann", model="rounds/001/ppo/model")
    add_event(root, "opened", 1, "ann", against="round-0", **RULE)
    return Work(load_loop(path), root, 1, "ann", Observer(), lambda line: None)


def vote(work: Work, votes: list[list[int]]) -> None:
    row = {
        "prompt": [{"role": "user", "content": "Who?"}],
        "completions": ["a", "b"],
        "meta": {"models": ["round-1", "round-0"], "consent": "2026-01-01"},
    }
    rows = [{**row, "user": f"user-{n}", "ranks": ranks} for n, ranks in enumerate(votes)]
    path = work.root / "feedback" / "rankings.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))


def test_it_waits_for_votes_and_says_where_they_come_from(work) -> None:
    with pytest.raises(Waiting, match="waits for blind votes: none yet, at most 60"):
        compare(work)
    vote(work, [WIN] * 3 + [LOSS] * 2)
    with pytest.raises(Waiting, match=r"0\.60 \[0\.\d\d, 0\.\d\d\] of 5 so far, at most 60"):
        compare(work)
    assert read_state(work.root).comparison is not None


@pytest.mark.parametrize(
    ("votes", "kind", "why", "served"),
    [
        ([WIN] * 20 + [TIE] * 5 + [LOSS] * 2, "promoted", "better", "round-1"),
        ([LOSS] * 20 + [TIE] * 5 + [WIN] * 2, "kept", "worse", "round-0"),
        ([WIN, LOSS] * 30, "kept", "undecided", "round-0"),
        # the 61st vote and those after it came too late
        ([WIN, LOSS] * 30 + [WIN] * 60, "kept", "undecided", "round-0"),
    ],
)
def test_votes_decide(work, votes, kind, why, served) -> None:
    vote(work, votes)
    compare(work)
    last = read_history(work.root)[-1]
    assert (last.kind, last.facts["why"]) == (kind, why)
    assert last.facts["votes"]["n"] == min(60, len(votes))
    assert read_state(work.root).served.name == served


def test_what_was_promoted_can_be_rolled_back(work) -> None:
    vote(work, [WIN] * 30)
    compare(work)
    assert roll_back(work.root, "bob").served.name == "round-0"


def test_after_a_rollback_the_comparison_begins_anew(work) -> None:
    """What it was against is no longer served."""
    promote(work.root, "ann", anyway=True)
    add_event(work.root, "started", 2, "ann", served="rounds/001/ppo/model")
    add_event(work.root, "trained", 2, "ann", model="rounds/002/ppo/model")
    add_event(work.root, "opened", 2, "ann", against="round-1", **RULE)
    second = replace(work, number=2)
    assert after(second, "opened") is compare
    roll_back(work.root, "bob")
    assert after(second, "opened") is open_comparison
    open_comparison(second)
    comparison = second.state.comparison
    assert comparison is not None
    assert (comparison.candidate.name, comparison.against.name) == ("round-2", "round-0")
    assert after(second, "opened") is compare


@pytest.fixture
def judged(work, monkeypatch) -> Work:
    """The same round, on whose two prompts judges compare; nothing is sampled or asked."""
    text = SETTINGS + (
        "prompts: {judge: 2}\n"
        "compare: {decided_by: [judges], judges: [{type: reward_model, model: m}]}\n"
    )
    work.loop.source.write_text(text)
    (work.folder / "prompts").mkdir(parents=True)
    rows = [{"prompt": [{"role": "user", "content": f"What {n}?"}]} for n in range(2)]
    path = work.folder / "prompts" / "judge.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    add_event(
        work.root, "opened", 1, "ann", against="round-0", **{**RULE, "decided_by": ["judges"]}
    )
    monkeypatch.setattr(module, "Answerer", lambda *_: lambda prompts, _keys: ["a"] * len(prompts))
    monkeypatch.setattr(module, "seat_judges", lambda *_, **__: [(object(), None)])
    return replace(work, loop=load_loop(work.loop.source))


def test_judges_who_all_abstain_are_said_to(judged, monkeypatch) -> None:
    """It said "waits for blind votes", and asked them anew at every start without a word."""
    says = [SimpleNamespace(outcome=None)] * 2
    monkeypatch.setattr(module, "judge_pairings", lambda *_: [says])
    with pytest.raises(ConfigError, match=r"compare.judges: none of them said anything on the 2"):
        compare(judged)
    assert read_state(judged.root).comparison is not None
    says[:] = [SimpleNamespace(outcome=1.0), SimpleNamespace(outcome=None)]
    compare(judged)  # once they speak it goes on: one win is no proof
    assert read_history(judged.root)[-1].facts["why"] == "undecided"


def test_judges_who_decide_and_are_taken_out_are_missed(judged) -> None:
    """It waited for votes, which could decide nothing."""
    path = judged.loop.source
    path.write_text(SETTINGS)
    without = replace(judged, loop=load_loop(path))
    with pytest.raises(ConfigError, match=r"compare.judges: .* round-1 .* none any more; .*anyway"):
        compare(without)
    assert promote(judged.root, "bob", anyway=True).served.name == "round-1"


def test_a_file_where_the_comparison_goes_is_named(judged) -> None:
    (judged.folder / "comparison").write_text("")
    with pytest.raises(RunDirError, match="comparison"):
        compare(judged)
