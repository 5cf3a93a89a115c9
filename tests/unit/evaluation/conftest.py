"""A recipe's run directories, made of invented numbers: what the report reads, without a model."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from instructgpt.config.evaluate import EvaluateConfig
from instructgpt.data.records import Message, Prompt
from instructgpt.evaluation.answering import ModelRecord
from instructgpt.evaluation.answers import Answer
from instructgpt.evaluation.best_of_n import best_of_n_kl
from instructgpt.evaluation.curves import best_of_n_curve
from instructgpt.evaluation.evaluate import compare_models, headline, write_evaluation
from instructgpt.evaluation.gold import GoldVerdict
from instructgpt.evaluation.overoptimization import CurvePoint, describe_curve
from instructgpt.storage.run_dir import RunDir

COMPONENTS = ("correct", "language", "constraint", "supported", "polite", "concise")
# chance that one component is perfect, KL, length: invented, in the order that a good run shows
SKILL = {
    "base": (0.45, 2.9, 30.0),
    "sft": (0.72, 0.0, 14.0),
    "best_of_n": (0.86, None, 10.0),
    "dpo": (0.88, 1.4, 9.0),
    "ppo": (0.92, 1.3, 8.0),
    "ppo_ptx": (0.93, 1.1, 8.0),
}
LOSS = {"base": 0.71, "sft": 0.79, "best_of_n": 0.79, "dpo": 0.83, "ppo": 0.88, "ppo_ptx": 0.77}


def make_prompts(count: int) -> list[Prompt]:
    """Prompts over four tasks, two languages, seen and held-out phrasings and facts."""
    prompts = []
    for i in range(count):
        task = ("qa", "dialogue", "summarization", "translation")[i % 4]
        language = ("en", "zh")[(i // 4) % 2]
        text = f"Where does person {i} live?" if language == "en" else f"第{i}个人住在哪里？"
        turns = [Message("user", text)]
        if task == "dialogue":
            turns = [Message("user", "Hi <b>there</b>"), Message("assistant", "Hello."), *turns]
        meta = {
            "task": task,
            "language": language,
            "phrasing_held_out": i % 3 == 0,
            "fact_held_out": i % 5 == 0,
        }
        prompts.append(Prompt(tuple(turns), id=f"p{i}", meta=meta))
    return prompts


def make_answer(rng: random.Random, model: str, index: int, condition: str) -> Answer:
    """An answer as good as the model's skill, better when greedy."""
    skill, kl, length = SKILL[model]
    chance = min(0.99, skill + {"greedy": 0.12, "temperature-0.7": 0.06}.get(condition, 0.0))
    components = {name: float(rng.random() < chance) for name in COMPONENTS}
    verdict = GoldVerdict(
        score=max(0.0, 5.0 - 1.7 * (6 - sum(components.values()))),
        ok=all(components.values()),
        correct=components["correct"] == 1.0,
        components=components,
        classes={"says_unknown": (rng.random() < 0.1, index % 9 == 0)},
    )
    text = f"{model} says Rome & <Paris> {index}." if index % 2 else f"{model}说罗马{index}。"
    measured = kl if condition == "sampled" else None
    return Answer(
        prompt=index,
        condition=condition,
        completion=text,
        num_tokens=max(1, round(rng.gauss(length, 2))),
        ended=rng.random() < 0.97,
        kl=None if measured is None else rng.gauss(measured, 0.4 if kl else 0.0),
        reward=rng.gauss(skill * 3, 1),
        gold=verdict,
    )


def make_records(num_prompts: int, seed: int = 0) -> dict[str, ModelRecord]:
    """Answers of the paper's six models."""
    rng = random.Random(seed)
    records = {}
    for model in SKILL:
        conditions = ["sampled"] if model == "best_of_n" else ["sampled", "greedy"]
        conditions += ["resampled", "temperature-0.7"] if model == "sft" else []
        answers = [make_answer(rng, model, i, c) for c in conditions for i in range(num_prompts)]
        record = ModelRecord(answers, "model", LOSS[model], timing={"generate": 4.0, "tokens": 900})
        if model == "best_of_n":
            proxy = [[rng.gauss(0, 1) for _ in range(16)] for _ in range(num_prompts)]
            gold = [[3 + 0.5 * p + rng.gauss(0, 1) for p in row] for row in proxy]
            record.kind, record.kl = "best_of_n", best_of_n_kl(16)
            record.curve = best_of_n_curve(proxy, gold)
        records[model] = record
    return records


def evaluate_config() -> EvaluateConfig:
    """Settings that go with `make_records`."""
    models: dict[str, Any] = {name: f"@{name}/model" for name in SKILL}
    models["best_of_n"] = {"model": "@sft/model", "reward_model": "@rm/model", "n": 16}
    return EvaluateConfig(models=models, prompts="p", gold="microworld", world="w")


def make_evaluation(
    num_prompts: int,
) -> tuple[dict[str, Any], list[Prompt], dict[str, ModelRecord]]:
    """evaluation.json with its prompts and records, through the code that makes it."""
    prompts, records = make_prompts(num_prompts), make_records(num_prompts)
    ppo = [
        CurvePoint(0.02 * i * i, 0.25 * i, 3 + 0.5 * i - 0.045 * i * i, f"step {i * 20}")
        for i in range(12)
    ]
    evaluation = {
        "reference": "sft",
        "temperature": 1.0,
        "judge": "gold",
        "judge_note": "The world's gold score decides; no model saw it.",
        "prompts": {"count": num_prompts, "left_out": {"seen_in_training": 3, "too_long": 0}},
        **compare_models(evaluate_config(), prompts, records, {}),
        "curves": {"best_of_n": records["best_of_n"].curve, "ppo": describe_curve(ppo, "rl")},
    }
    return evaluation, prompts, records


def finish_stage(
    root: Path,
    name: str,
    stem: str,
    parents: list[str],
    summary: dict[str, Any],
    metrics: list[dict[str, Any]] | None = None,
    phases: dict[str, float] | None = None,
) -> Path:
    """A finished run directory, through the code that makes real ones."""
    found = {parent: RunDir.view(root / parent).fingerprint for parent in parents}
    with RunDir.open(root / name, stem, {"name": name}, 0, found) as run:
        for row in metrics or []:
            run.log(row["step"], {k: v for k, v in row.items() if k != "step"})
        for step in range(3 if phases else 0):
            run.log_timing(step, {**(phases or {}), "tokens": 40_000.0})
        run.finish(summary)
    set_seconds(root / name, 3 * sum((phases or {"": 0.5}).values()) + 1.5)
    return root / name


def set_seconds(path: Path, seconds: float) -> None:
    """Pretend that a stage took as long as its phases say."""
    done = json.loads((path / "done.json").read_text("utf-8"))
    (path / "done.json").write_text(json.dumps({**done, "seconds": seconds}), "utf-8")


def rate(value: float, n: int) -> dict[str, Any]:
    """Accuracy as the reward-model stage reports it."""
    half = 1.96 * math.sqrt(value * (1 - value) / n)
    return {"accuracy": value, "low": value - half, "high": value + half, "pairs": n, "prompts": 90}


def write_recipe(root: Path, num_prompts: int = 48) -> Path:
    """All stages of the quickstart, finished."""
    rng = random.Random(1)
    world = {"documents_heldout": "held"}
    finish_stage(root, "world", "microworld", [], world)

    def losses(name: str, steps: int, start: float, end: float) -> list[dict[str, Any]]:
        rows = []
        for step in range(1, steps + 1):
            value = end + (start - end) * math.exp(-4 * step / steps) + rng.gauss(0, 0.03)
            rows.append({"step": step, "loss": value, "lr": 1e-3})
            if step % (steps // 5) == 0:
                rows.append({"step": step, name: value + 0.05})
        return rows

    finish_stage(
        root,
        "base",
        "pretrain",
        ["world"],
        {"heldout_loss": 0.71},
        losses("heldout_loss", 150, 6.9, 0.7),
        {"update": 30.0, "evaluate": 1.0},
    )
    finish_stage(
        root,
        "sft",
        "sft",
        ["world", "base"],
        {"valid_loss": 1.1},
        losses("valid_loss", 80, 2.6, 1.0),
        {"update": 22.0, "evaluate": 2.0},
    )
    agreement = {"value": 0.751, "low": 0.73, "high": 0.77, "n": 200, "pairs": 1800, "ties": 300}
    finish_stage(root, "labels", "label", ["world", "sft"], {"labeler_agreement": agreement})
    heldout = {
        **rate(0.66, 1500),
        "loss": 0.61,
        "ties_dropped": 210,
        "by_rank_gap": {"1": rate(0.6, 700)},
        "by_margin": {f"quarter_{q + 1}": rate(0.52 + 0.09 * q, 375) for q in range(4)},
        "by_length": {"longer_preferred": rate(0.58, 500), "shorter_preferred": rate(0.7, 900)},
    }
    finish_stage(
        root,
        "rm",
        "reward_model",
        ["world", "sft", "labels"],
        {
            "heldout": heldout,
            "other_labeler": rate(0.63, 400),
            "rankings": 1800,
            "demonstration_mean": 1e-7,
        },
        [{"step": s, "loss": 0.69 - 0.003 * s, "accuracy": 0.5 + 0.004 * s} for s in range(1, 40)],
        {"update": 15.0},
    )
    for name, tax in (("ppo", 0.1), ("ppo_ptx", -0.02)):
        rows = [
            {
                "step": s,
                "score": -0.3 + 0.05 * s,
                "kl": 0.04 * s + 0.01,
                "length": 14 - 0.15 * s,
                "entropy": 1.6 - 0.02 * s,
            }
            for s in range(1, 41)
        ]
        rows += [{"step": s, "pretraining_loss": 0.79 + tax * s / 40} for s in range(0, 41, 10)]
        finish_stage(
            root,
            name,
            "ppo",
            ["world", "sft", "rm"],
            {"kl": 1.6},
            rows,
            {"rollout": 9.0, "score": 4.0, "update": 16.0, "evaluate": 2.0},
        )
    finish_stage(
        root,
        "dpo",
        "dpo",
        ["labels", "sft"],
        {},
        losses("heldout_loss", 50, 0.69, 0.55),
        {"update": 18.0},
    )
    evaluation, prompts, records = make_evaluation(num_prompts)
    models = ["base", "sft", "rm", "dpo", "ppo", "ppo_ptx", "world"]
    found = {parent: RunDir.view(root / parent).fingerprint for parent in models}
    with RunDir.open(root / "evaluate", "evaluate", {}, 0, found) as run:
        write_evaluation(run, evaluation, prompts, records)
        run.log_timing(0, {"generate": 12.0, "measure": 3.0, "tokens": 90_000.0})
        run.finish(headline(evaluation))
    set_seconds(root / "evaluate", 18.0)
    return root


@pytest.fixture(scope="session")
def recipe_root(tmp_path_factory) -> Path:
    """A finished recipe on disk; tests must not change it."""
    return write_recipe(tmp_path_factory.mktemp("recipe") / "quickstart")


@pytest.fixture(scope="session")
def evaluation_of(recipe_root) -> dict[str, Any]:
    """The evaluation.json of `recipe_root`."""
    return json.loads((recipe_root / "evaluate" / "evaluation.json").read_text("utf-8"))
