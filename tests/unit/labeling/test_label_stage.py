"""Stage `label`: who ranks what, people beside judges, the store, and a kill in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from instructgpt.config.judges import AIJudgeConfig
from instructgpt.config.label import LabelConfig
from instructgpt.data.jsonl import read_jsonl, write_jsonl
from instructgpt.data.records import Prompt, Ranking
from instructgpt.errors import ConfigError, DataError
from instructgpt.labeling import label
from instructgpt.labeling.tasks import Task
from instructgpt.labeling.turns import draw_turns
from instructgpt.pipeline.plan import outside_inputs
from instructgpt.storage.label_store import LabelStore
from instructgpt.storage.run_dir import RunDir

NUM_PEOPLE_TASKS = 12


def rows(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_jsonl(path)]


def run_stage(path: Path, config: LabelConfig) -> dict[str, Any]:
    with RunDir.open(path, "label", config.model_dump(mode="json"), config.seed, {}) as run:
        summary = label.run(config, run)
        run.finish(summary)
    return summary


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Ann ranks every task by length, longest first; Bob half of them, shortest first."""
    rankings = []
    for i in range(NUM_PEOPLE_TASKS):
        prompt = Prompt.from_text(f"问题 {i}？" if i % 2 else f"Question {i}?")
        texts = ("x", f"xx{i % 10}", "xxxxx")
        rankings.append(Ranking(prompt, texts, (3, 2, 1), "ann"))
        if i % 2:
            rankings.append(Ranking(prompt, texts[::-1], (3, 2, 1), "bob"))
    path = tmp_path / "people.jsonl"
    write_jsonl(path, (r.to_dict() for r in rankings))
    return path


def settings(file: Path, endpoint, **changes: Any) -> LabelConfig:
    values = {"people": str(file), "judges": (endpoint.config(name="gpt"),), "overlap": 1.0}
    return LabelConfig(**{**values, **changes})


def test_an_ai_ranks_what_people_ranked_and_the_agreement_is_told(people, endpoint, tmp_path):
    """The AI agrees with Ann on everything, with Bob on nothing."""
    endpoint.script = endpoint.prefers(len)
    summary = run_stage(tmp_path / "label", settings(people, endpoint))
    found = {
        (e["a"], e["b"]): (e["value"], e["pairs"], e["n"]) for e in summary["agreement"]["judges"]
    }
    assert found == {
        ("ann", "bob"): (0.0, 18, 6),
        ("ann", "gpt"): (1.0, 36, 12),
        ("bob", "gpt"): (0.0, 18, 6),
    }
    kinds = {(e["a"], e["b"]): e["value"] for e in summary["agreement"]["kinds"]}
    assert kinds == {("ai", "people"): 36 / 54, ("people", "people"): 0.0}
    (account,) = summary["judges"]
    assert (account["asked"], account["abstained"], account["questions"]) == (12, 0, 24)
    assert account["order_consistency"]["value"] == 1.0
    assert account["first_shown_wins"]["value"] == 0.5
    trained = rows(tmp_path / "label" / "rankings.jsonl")
    assert {row["labeler"] for row in trained} == {"ann"}, "people's first ranking trains"
    assert summary["rankings"] + summary["rankings_heldout"] == NUM_PEOPLE_TASKS
    assert sum("请比较" in question for question in endpoint.asked) == 12


def test_the_store_holds_who_said_what(people, endpoint, tmp_path):
    endpoint.script = endpoint.prefers(len)
    run_stage(tmp_path / "label", settings(people, endpoint))
    with LabelStore(tmp_path / "label" / "labels.sqlite") as store:
        stored = list(store.rankings())
    assert Counter((r["labeler"], r["meta"]["labeler_kind"]) for r in stored) == {
        ("ann", "person"): 12,
        ("bob", "person"): 6,
        ("gpt", "ai"): 12,
    }
    for row in stored:
        if row["labeler"] == "gpt":
            assert row["ranks"] == [3, 2, 1]
            assert sorted(row["meta"]["order"]) == [0, 1, 2]


def test_what_cannot_be_read_is_counted_and_leaves_no_ranking(people, endpoint, tmp_path):
    good = endpoint.prefers(len)
    endpoint.script = lambda q: "no idea" if "Question 4?" in q else good(q)
    summary = run_stage(tmp_path / "label", settings(people, endpoint))
    (account,) = summary["judges"]
    assert account["abstained"] == 1
    assert account["failures"] == {"last line is no ranking": 2}
    by_ai = next(e for e in summary["agreement"]["kinds"] if e["a"] == "ai")
    assert by_ai["n"] == 11
    everything = [*rows(tmp_path / "label" / "rankings.jsonl")]
    everything += rows(tmp_path / "label" / "rankings_heldout.jsonl")
    assert len(everything) == NUM_PEOPLE_TASKS, "people had ranked it"


def test_overlap_is_the_share_of_peoples_tasks_that_a_judge_sees(people, endpoint, tmp_path):
    endpoint.script = endpoint.prefers(len)
    summary = run_stage(tmp_path / "label", settings(people, endpoint, overlap=0.5))
    assert 2 <= summary["judges"][0]["asked"] <= 10
    none = run_stage(tmp_path / "none", settings(people, endpoint, overlap=0.0, num_prompts=3))
    assert (none["judges"][0]["asked"], none["prompts"]) == (0, 3)


def test_a_killed_run_does_not_pay_twice(people, endpoint, tmp_path):
    """Kill -9 while the ninth question is under way; only that one is asked again."""
    config = settings(people, endpoint, judges=(endpoint.config(name="gpt", concurrency=1),))
    file = tmp_path / "label.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json")), "utf-8")
    command = [sys.executable, "-m", "instructgpt", "label", "--config", str(file)]
    running: list[subprocess.Popen[bytes]] = []
    good = endpoint.prefers(len)

    def deadly(question: str) -> str:
        if len(endpoint.asked) == 9:
            running[0].send_signal(signal.SIGKILL)
        return good(question)

    endpoint.script = deadly
    out = tmp_path / "killed"
    with subprocess.Popen([*command, "--out", str(out)], env=os.environ) as process:
        running.append(process)
        assert process.wait() == -signal.SIGKILL
    assert len(endpoint.asked) == 9
    subprocess.run([*command, "--out", str(out)], check=True, env=os.environ)
    counts = Counter(endpoint.asked)
    assert len(counts) == 24
    # the reply to the ninth was on its way when the process died
    assert [question for question, count in counts.items() if count > 1] == [endpoint.asked[8]]
    whole = run_stage(tmp_path / "whole", config)
    done = json.loads((out / "done.json").read_text("utf-8"))["summary"]
    assert done == json.loads(json.dumps(whole)), "the account of a resumed run is that of a whole"
    for name in ("rankings.jsonl", "rankings_heldout.jsonl"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_key_is_no_input_of_the_run(people, endpoint, tmp_path, monkeypatch):
    """A new key changes no result, and its hash belongs in no manifest; a rubric's does."""
    monkeypatch.chdir(tmp_path)
    for name in ("key", "rubric", "m"):  # a file that is called like the model is a coincidence
        (tmp_path / name).write_text("x", "utf-8")
    judge = endpoint.config(api_key_file="key", rubric="rubric", name="m")
    config = settings(people, endpoint, judges=(judge,))
    assert set(outside_inputs(config)) == {str(people), "rubric"}


def test_shares_and_overlap():
    """Shares 1, 3, 6: a first judge each; every second task gets another one."""
    task = Task(Prompt.from_text("q"), ("a", "b", "c"), (None, None, None))
    turns = draw_turns([task] * 4000, [1, 3, 6], overlap=0.5, first=True, seed=0)
    by_task: dict[int, list[int]] = {}
    for turn in turns:
        by_task.setdefault(turn.task, []).append(turn.judge)
        assert sorted(turn.order) == [0, 1, 2]
    first = Counter(judges[0] for judges in by_task.values())
    assert [first[i] / 4000 for i in range(3)] == pytest.approx([0.1, 0.3, 0.6], abs=0.03)
    assert len(turns) / 4000 == pytest.approx(1.5, abs=0.04)
    assert all(len(set(judges)) == len(judges) for judges in by_task.values())
    assert draw_turns([task] * 3, [2], overlap=0.0, first=True, seed=0)[0].judge == 0


def test_people_may_have_ranked_too_many(endpoint, tmp_path):
    texts = tuple("abcdefghij")
    ranking = Ranking(Prompt.from_text("q"), texts, tuple(range(1, 11)))
    write_jsonl(tmp_path / "people.jsonl", [ranking.to_dict()])
    with pytest.raises(DataError, match="10 completions of one prompt; judges take at most 9"):
        run_stage(tmp_path / "label", settings(tmp_path / "people.jsonl", endpoint))


def test_two_judges_of_one_name_are_refused(people, endpoint, tmp_path):
    twins = (endpoint.config(), endpoint.config(request={"temperature": 1.0}))
    with pytest.raises(ConfigError, match="2 judges are called 'm'; give each a `name`"):
        run_stage(tmp_path / "label", settings(people, endpoint, judges=twins))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"people": None}, "give models and prompts to sample, or rankings by `people`"),
        ({"models": ("m",), "prompts": "p"}, "leave models and prompts"),
        ({"judges": ()}, "name at least one"),
        ({"judges": ({"type": "simulated"},)}, "simulated judges need world"),
        ({"judges": ({"type": "simulated"},) * 2, "world": "w"}, "give simulated labelers once"),
        (
            {"people": None, "models": ("m",), "prompts": "p"},
            "one judge cannot overlap with another; set overlap to 0",
        ),
    ],
)
def test_settings_that_contradict_each_other(endpoint, changes, words):
    with pytest.raises(ValidationError, match=words):
        settings(Path("people.jsonl"), endpoint, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base_url": "ftp://x/v1"}, "does not begin with http"),
        ({"base_url": "http://user:pass@x/v1"}, "holds a password"),
        ({"api_key_env": "A", "api_key_file": "b"}, "not both"),
        ({"request": {"n": 2}}, "request: 'n' is set by the judge itself"),
        ({"concurrency": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_of_an_ai_judge_that_cannot_be(changes, words):
    with pytest.raises(ValidationError, match=words):
        AIJudgeConfig(**{"type": "ai", "base_url": "http://x/v1", "model": "m", **changes})
