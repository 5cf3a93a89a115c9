"""align and evaluate: the stages behind the Python API, on the smallest of models."""

from __future__ import annotations

import json

import pytest

from instructgpt import InstructGPT
from instructgpt.api_alignment import ScoreJudge
from instructgpt.data.records import Prompt
from instructgpt.errors import ConfigError, DataError

QUESTIONS = ["Who is Anna?", "Who is Ben?", "谁是安娜？", "谁是本？"]
ROWS = [{"instruction": q, "output": "yes" if i % 2 else "no"} for i, q in enumerate(QUESTIONS)]
RANKINGS = [{"prompt": q, "chosen": "yes", "rejected": "no"} for q in QUESTIONS]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Knows its four answers by heart, half of them "no"."""
    model = InstructGPT.create([*QUESTIONS, "yes no 是 否"], width=32, vocab_size=300)
    model.fit(ROWS)
    folder = tmp_path_factory.mktemp("fitted")
    model.save(folder / "model")
    return folder / "model"


def short(question, answers):
    """Shorter is better."""
    return [-len(answer) for answer in answers]


def test_dpo_on_pairs_makes_the_preferred_answer_likely(fitted):
    model = InstructGPT.load(fitted)
    assert [model.ask(q) for q in QUESTIONS] == ["no", "yes", "no", "yes"]
    done = model.align(RANKINGS, method="dpo", epochs=40, batch_size=4, optim={"lr": 3e-3})
    assert (done.method, done.rankings, done.reward_accuracy) == ("dpo", 4, None)
    assert model.ask(QUESTIONS[2]) == "yes"
    assert "<th>method</th><td>dpo</td>" in done._repr_html_()


def test_ppo_runs_in_a_directory_that_stays(fitted, tmp_path):
    model = InstructGPT.load(fitted)
    settings = {"episodes": 16, "batch_size": 8, "minibatch_size": 8}
    done = model.align(RANKINGS, directory=tmp_path / "runs", max_new_tokens=4, **settings)
    assert done.directory == tmp_path / "runs"
    assert 0 <= done.reward_accuracy.low <= done.reward_accuracy.high <= 1
    assert (tmp_path / "runs" / "ppo" / "done.json").exists()
    assert isinstance(model.ask("Who is Anna?", max_new_tokens=4), str)


def test_adapters_of_policy_and_reward_model_share_the_weights(fitted, tmp_path):
    model = InstructGPT.load(fitted)
    settings = {"episodes": 8, "batch_size": 8, "minibatch_size": 8}
    model.align(
        RANKINGS, directory=tmp_path, max_new_tokens=4, adapter="lora",
        reward_model={"epochs": 2}, **settings,
    )  # fmt: skip
    memory = json.loads((tmp_path / "ppo" / "manifest.json").read_text())["environment"]["memory"]
    whole = memory["estimate"]["policy"]
    assert all(memory["estimate"].get(name, 0) < whole / 2 for name in ("critic", "reward_model"))
    for stage in ("reward_model", "ppo"):
        config = json.loads((tmp_path / stage / "adapter" / "adapter_config.json").read_text())
        assert config["r"] == 16
    assert isinstance(model.ask("Who is Anna?", max_new_tokens=4), str)


def test_dpo_with_an_adapter(fitted):
    model = InstructGPT.load(fitted)
    model.align(RANKINGS, method="dpo", adapter="lora", epochs=40, batch_size=4, optim={"lr": 1e-2})
    assert model.ask(QUESTIONS[2]) == "yes"


def test_a_plain_function_judges_for_best_of_n():
    # random weights answer differently every time, as one that knows its answers does not
    model = InstructGPT.create(QUESTIONS, width=32, vocab_size=300)
    done = model.align(
        prompts=QUESTIONS * 3, method="best_of_n", judge=short, max_new_tokens=6, n=4
    )
    assert done.rankings >= 2
    assert done.summary["best_score"] >= done.summary["mean_score"]


def test_evaluate_counts_what_is_known_and_compares(fitted):
    model = InstructGPT.load(fitted)
    wrong = [{**row, "output": "yes"} for row in ROWS]
    assert model.evaluate(ROWS).exact_match.value == 1
    found = model.evaluate(wrong, against=model, judge=short)
    assert found.exact_match.value == pytest.approx(0.5)
    assert found.answers == ("no", "yes", "no", "yes")
    assert found.win_rate.interval.value == pytest.approx(0.5)
    assert "exact_match" in found._repr_html_()


def test_scores_become_ranks_and_equal_scores_tie():
    prompt = Prompt.from_text("?")
    assert ScoreJudge(lambda q, a: [1.0, 3.0, 1.0, 2.0]).rank(prompt, "abcd") == [3, 1, 3, 2]
    assert ScoreJudge(lambda q, a: None).rank(prompt, "ab") is None

    def lazy(question, answers):
        return [1]

    with pytest.raises(DataError, match=r"judge lazy: 2 answers got 1 scores"):
        ScoreJudge(lazy).rank(prompt, "ab")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "grpo"}, ConfigError, "method is one of ppo, dpo, best_of_n, got 'grpo'"),
        ({}, ConfigError, "give rankings, or prompts and a judge"),
        ({"rankings": RANKINGS, "judge": short}, ConfigError, "give prompts alone"),
        ({"rankings": []}, DataError, "no rows"),
        ({"rankings": RANKINGS[:1]}, DataError, "at least 2 prompts"),
        (
            {"rankings": RANKINGS, "method": "dpo", "betta": 1},
            ConfigError,
            "unknown key 'betta'; did you mean 'beta'",
        ),
        ({"prompts": QUESTIONS, "judge": short, "answers": 1}, ConfigError, "needs at least 2"),
    ],
)
def test_what_align_refuses(fitted, arguments, error, message):
    with pytest.raises(error, match=message):
        InstructGPT.load(fitted).align(**arguments)


def test_evaluate_refuses_half_a_comparison(fitted):
    with pytest.raises(ConfigError, match="against and judge go together"):
        InstructGPT.load(fitted).evaluate(ROWS, judge=short)
