"""Answers to numbers: groups, text metrics, classification, win rates by who decides."""

from __future__ import annotations

import pytest

from instructgpt.data.records import Prompt
from instructgpt.evaluation.answers import Answer, read_answers, write_answers
from instructgpt.evaluation.gold import GoldVerdict
from instructgpt.evaluation.summarize import (
    answer_win_rate,
    describe_answers,
    grouped_rates,
    text_metrics,
)


def prompt(text: str, **meta: object) -> Prompt:
    return Prompt.from_text(text, meta=meta)


def verdict(score: float, correct: bool, claims: bool = False, asks: bool = False) -> GoldVerdict:
    components = {"correct": float(correct), "polite": 1.0}
    return GoldVerdict(score, correct, correct, components, {"unknown": (claims, asks)})


def answer(index: int, text: str = "x", **fields: object) -> Answer:
    return Answer(index, "sampled", text, 5, True, **fields)  # type: ignore[arg-type]


def test_groups_follow_the_meta_and_leave_out_what_has_none():
    prompts = [
        prompt("a", task="qa", language="en", phrasing_held_out=False, fact_held_out=False),
        prompt("b", task="qa", language="zh", phrasing_held_out=True, fact_held_out=True),
        prompt("c", task="sum", language="en", phrasing_held_out=True, fact_held_out=False),
        prompt("d"),
    ]
    rates = grouped_rates([1.0, 0.0, 1.0, 1.0], prompts)
    assert rates["overall"]["value"] == 0.75
    assert {k: v["value"] for k, v in rates["by_task"].items()} == {"qa": 0.5, "sum": 1.0}
    assert {k: v["n"] for k, v in rates["by_language"].items()} == {"en": 2, "zh": 1}
    assert {k: v["value"] for k, v in rates["by_phrasing"].items()} == {"held_out": 0.5, "seen": 1}
    assert {k: v["n"] for k, v in rates["by_both"].items()} == {"held_out": 1, "seen": 1}


def test_description_of_answers_by_hand():
    prompts = [prompt(t) for t in "abc"]
    answers = [
        Answer(0, "sampled", "x", 4, True, kl=1.0, reward=0.5, gold=verdict(5.0, True)),
        Answer(1, "sampled", "y", 6, True, kl=2.0, reward=1.5, gold=verdict(2.0, False, True)),
        Answer(2, "sampled", "z", 8, False, kl=3.0, gold=verdict(5.0, True, True, True)),
    ]
    found = describe_answers(prompts, answers)
    assert (found["length"]["value"], found["kl"]["value"]) == (6.0, 2.0)
    assert found["eos_rate"]["value"] == pytest.approx(2 / 3)
    assert found["gold"]["value"] == 4.0
    assert found["accuracy"]["overall"]["value"] == pytest.approx(2 / 3)
    assert found["components"]["correct"] == pytest.approx(2 / 3)
    assert (found["classes"]["unknown"]["precision"], found["classes"]["unknown"]["recall"]) == (
        0.5,
        1.0,
    )
    assert found["reward"] is None, "a mean over some answers would be of other prompts"


def test_without_gold_nothing_is_invented():
    found = describe_answers([prompt("a")], [answer(0, reward=1.0)])
    for name in ("gold", "accuracy", "ok", "components", "classes", "kl", "judge_reward"):
        assert found[name] is None


def test_preference_goes_by_who_decides_and_pairs_by_prompt():
    prompts = [prompt("a"), prompt("b")]
    first = [
        answer(0, reward=1.0, judge_reward=0.0, gold=verdict(5.0, True)),
        answer(1, reward=1.0, judge_reward=0.0, gold=verdict(1.0, False)),
    ]
    second = [  # in another order
        answer(1, reward=0.0, judge_reward=1.0, gold=verdict(1.0, False)),
        answer(0, reward=0.0, judge_reward=1.0, gold=verdict(2.0, False)),
    ]
    rates = {
        judge: answer_win_rate(prompts, first, second, judge).interval
        for judge in ("gold", "reward_model", "judge_reward_model")
    }
    assert {k: v and v.value for k, v in rates.items()} == {
        "gold": 0.75,
        "reward_model": 1.0,
        "judge_reward_model": 0.0,
    }


def test_text_metrics_by_task_and_language():
    prompts = [
        prompt("q1", task="qa"),
        prompt("q2", task="qa"),
        prompt("t1", task="translation"),
        prompt("t2", task="translation"),
        prompt("u", task="qa"),
    ]
    texts = ["Paris.", "in Rome", "Anna lives in Rome now", "安娜现在住在罗马城里", "no reference"]
    wanted = ["paris", "Rome", "Anna lives in Rome now", "安娜现在住在罗马城里"]
    references = {p.key: w for p, w in zip(prompts, wanted, strict=False)}
    found = text_metrics(prompts, [answer(i, t) for i, t in enumerate(texts)], references)
    assert found is not None
    assert found["overall"]["exact_match"]["value"] == 0.75
    assert found["overall"]["exact_match"]["n"] == 4
    assert found["by_task"]["qa"]["f1"]["value"] == pytest.approx((1 + 2 / 3) / 2)
    assert {k: v["n"] for k, v in found["translation"].items()} == {"en": 1, "zh": 1}
    assert found["translation"]["zh"]["bleu"]["score"] == pytest.approx(100)
    assert "tok:zh" in found["translation"]["zh"]["bleu"]["signature"]
    assert text_metrics(prompts, [answer(4)], references) is None


def test_answers_survive_the_disk(tmp_path):
    answers = [
        answer(0, "他说：\n好。", kl=-0.25, gold=verdict(2.5, False, True)),
        Answer(1, "greedy", "", 1, False),
    ]
    write_answers(tmp_path / "a.jsonl", answers)
    assert read_answers(tmp_path / "a.jsonl") == answers
