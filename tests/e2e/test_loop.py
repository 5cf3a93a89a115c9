"""`instructgpt loop` as a program, on a tiny world with simulated users, and with people."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from instructgpt.config.loop import load_loop
from instructgpt.data.jsonl import read_jsonl
from instructgpt.data.readers import load_demonstrations, load_prompts, load_rankings
from instructgpt.pipeline.loop.run import run_loop
from instructgpt.storage.label_review import LabelReview
from instructgpt.storage.label_store import LabelStore

TINY = Path(__file__).with_name("tiny_loop.yaml")


def _loop(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "instructgpt", "loop", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "tiny"
    done = _loop("run", TINY, "--out", out, "--rounds", "1", "--by", "ann")
    assert done.returncode == 0, done.stderr
    done = _loop("run", TINY, "--out", out, "--by", "bob")
    assert done.returncode == 0, done.stderr
    assert "round 1" not in done.stdout  # it goes on with the second
    return out


def _history(root: Path) -> list[dict]:
    return [json.loads(line) for line in (root / "history.jsonl").read_text().splitlines()]


def test_every_round_goes_through_every_phase(root):
    kinds = [(row["round"], row["kind"]) for row in _history(root)]
    phases = ["started", "collected", "demonstrated", "trained", "opened"]
    for number in (1, 2):
        own = [kind for n, kind in kinds if n == number]
        assert own[:5] == phases
        assert own[5] in ("promoted", "kept")
    assert kinds[0] == (0, "begun")
    assert {row["by"] for row in _history(root)} == {"ann", "bob"}


def test_rounds_learn_from_what_came_together(root):
    first, second = root / "rounds" / "001", root / "rounds" / "002"
    known = {p.key for p in load_prompts(root / "start" / "world" / "prompts_eval.jsonl").records}
    few = len(load_demonstrations(root / "start" / "world" / "demonstrations.jsonl").records)
    sizes = [
        len(load_demonstrations(r / "demonstrations" / "demonstrations.jsonl").records)
        for r in (first, second)
    ]
    assert sizes == [few + 10, few + 20]
    used = [
        {p.key for use in ("demonstrate", "rank", "judge", "ppo_new")
         for p in load_prompts(r / "prompts" / f"{use}.jsonl").records}
        for r in (first, second)
    ]  # fmt: skip
    assert [len(one) for one in used] == [40, 40]
    assert not used[0] & used[1]
    assert not (used[0] | used[1]) & known
    votes = load_rankings(second / "prompts" / "rankings.jsonl").records
    trained = {r.prompt.key for r in load_rankings(second / "label" / "rankings.jsonl").records}
    earlier = {r.prompt.key for r in load_rankings(first / "label" / "rankings.jsonl").records}
    assert votes
    assert {v.prompt.key for v in votes} | earlier <= trained | {
        r.prompt.key for r in load_rankings(second / "label" / "rankings_heldout.jsonl").records
    }


def test_judges_saw_prompts_that_train_nothing(root):
    judged = [row for _, row in read_jsonl(root / "rounds" / "001" / "comparison" / "judged.jsonl")]
    assert len(judged) == 6
    assert all(len(row["said"]) == 3 and 0 <= row["outcome"] <= 1 for row in judged)
    for number in ("001", "002"):
        folder = root / "rounds" / number
        keys = {p.key for p in load_prompts(folder / "prompts" / "judge.jsonl").records}
        for path in ("prompts/ppo", "demonstrations/demonstrations", "label/rankings"):
            trained = load_prompts(folder / f"{path}.jsonl").records
            assert not keys & {p.key for p in trained}, path


def test_a_second_run_does_nothing_and_status_says_where_it_is(root):
    before = (root / "history.jsonl").read_bytes()
    again = _loop("run", TINY, "--out", root)
    assert again.returncode == 0
    assert (root / "history.jsonl").read_bytes() == before
    seen = _loop("status", root)
    assert seen.returncode == 0
    assert seen.stdout.startswith("tiny: round-")
    assert _loop("promote", root).stderr.startswith("error: nothing is being compared")


def test_the_report_is_one_offline_file(root):
    html = (root / "report.html").read_text(encoding="utf-8")
    assert "<svg" in html
    assert "<script" not in html
    assert "<link" not in html
    report = json.loads((root / "report.json").read_text(encoding="utf-8"))
    for one in report["rounds"]:
        assert one["votes"]["n"] == 20 or one["why"] != "undecided"
        assert 0 <= one["sampled"]["low"] <= one["sampled"]["value"] <= one["sampled"]["high"] <= 1
        assert set(one["faultless"]) == {"before", "candidate"}


def test_another_start_is_another_loop(root, tmp_path):
    other = tmp_path / "loop.yaml"
    other.write_text(TINY.read_text().replace("tokens: 4096", "tokens: 8192"))
    refused = _loop("run", other, "--out", root)
    assert refused.returncode == 2
    assert "the start of the loop" in refused.stderr
    assert "'base' would have to be made again (tokens: 4096 -> 8192)" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_model_against_itself_is_not_promoted(tmp_path):
    text = TINY.read_text()
    text = text.replace(', {type: reward_model, model: "@reward_model/model"}', "")
    stages = text[text.index("round:\n") : text.index("  label:\n")]
    path = tmp_path / "loop.yaml"
    path.write_text(
        text[: text.index("round:\n")].replace('"@ppo/model"', '"@start/sft/model"') + stages
    )
    done = _loop("run", path, "--out", tmp_path / "loop", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    last = _history(tmp_path / "loop")[-1]
    assert (last["kind"], last["why"]) == ("kept", "undecided")
    assert last["votes"]["low"] < 0.5 < last["votes"]["high"]


def test_it_waits_for_people_and_says_for_what(tmp_path):
    """No simulated user, no simulated writer: prompts come first, then demonstrations."""
    text = TINY.read_text()
    users = text[text.index("users:\n") : text.index("compare:\n")]
    text = text.replace(users, "").replace("{by: simulated, also", "{by: people, also")
    path, out = tmp_path / "loop.yaml", tmp_path / "loop"
    path.write_text(text.replace("wanted: 40, demonstrate: 10", "wanted: 21, demonstrate: 2"))
    waiting = _loop("run", path, "--out", out)
    assert waiting.returncode == 3, waiting.stderr
    last = waiting.stdout.splitlines()[-1]
    assert last == (
        f"round 1 waits for prompts: users have given 0 of 21; they come through "
        f"`instructgpt serve {out}`"
    )
    prompts = load_prompts(out / "start" / "world" / "prompts_ppo.jsonl").records[:21]
    (out / "feedback").mkdir()
    rows = [
        {**p.to_dict(), "user": f"user-{n}", "meta": {"consent": "2026-01-01"}}
        for n, p in enumerate(prompts)
    ]
    (out / "feedback" / "prompts.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    waiting = _loop("run", path, "--out", out)
    assert waiting.returncode == 3, waiting.stderr
    assert "demonstrations by people: 2 of 2 are missing" in waiting.stdout.splitlines()[-1]
    assert f"label serve --store {out / 'labels.sqlite'}" in waiting.stdout.splitlines()[-1]


def test_people_rank_and_the_round_goes_on(tmp_path):
    """Their rankings train the reward model; those of simulated judges stand beside some."""
    text = TINY.read_text()
    text = text[: text.index("  evaluate:\n")]
    text = text.replace(
        '    models: ["@sft/model", "@served"]\n    prompts: "@prompts/rank.jsonl"\n',
        '    people: "@people/rankings.jsonl"\n',
    )
    more = 'people: {models: ["@sft/model"], k_min: 3, k_max: 3, sampling: {max_new_tokens: 8}}\n'
    path, out = tmp_path / "loop.yaml", tmp_path / "loop"
    path.write_text(text.replace("round:\n", f"{more}round:\n"))
    loop = load_loop(path)
    for _ in range(2):  # nothing is sampled or asked anew
        waiting = run_loop(loop, out, by="ann", rounds=1)
        assert waiting is not None
        assert waiting.startswith("round 1 waits for rankings by people: 12 of 12 are missing")
    with LabelStore(out / "labels.sqlite") as store:
        store.add_labeler("eve")
        for task in LabelReview(store).tasks():
            store.submit(task["id"], "eve", [1, 2, 2], client_uuid=f"eve-{task['id']}")
    assert run_loop(loop, out, by="ann", rounds=1) is None
    label = out / "rounds" / "001" / "label"
    ranked = load_rankings(label / "rankings.jsonl").records
    ranked += load_rankings(label / "rankings_heldout.jsonl").records
    assert [r.labeler for r in ranked] == ["eve"] * 12
    assert all(r.ranks == (1, 2, 2) and r.prompt.user for r in ranked)
