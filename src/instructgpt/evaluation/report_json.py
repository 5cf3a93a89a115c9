"""`report.json`: the report's numbers for programs, with fixed top-level keys.

    models        name -> win_rate_vs_<reference>, gold, accuracy, pretraining_loss, kl, length
    reward_model  accuracy, low, high, labeler_agreement, demonstration_mean
    stages        name -> seconds, tokens, tokens_per_second
    environment   what the last stage ran on

What was not measured is null or absent; nothing is filled in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from instructgpt.evaluation.stage_runs import StageRun, of_stem

_ACCURACY_GROUPS = ("overall", "by_task", "by_language", "by_phrasing", "by_fact", "by_both")
_BOUNDS = ("value", "low", "high", "n")


def report_json(runs: Sequence[StageRun], evaluation: Mapping[str, Any] | None) -> dict[str, Any]:
    """The four sections; `models` is empty without an evaluation."""
    return {
        "models": {} if evaluation is None else _models(evaluation),
        "reward_model": reward_model_numbers(runs),
        "stages": {run.name: _stage(run) for run in runs if run.done is not None},
        "environment": environment(runs),
    }


def reward_model_numbers(runs: Sequence[StageRun]) -> dict[str, Any]:
    """Held-out accuracy of the last reward model, beside the labelers' agreement."""
    trained = of_stem(runs, "reward_model")
    summary = trained[-1].summary if trained else {}
    heldout = summary.get("heldout") or {}
    agreement = labeler_agreement(runs)
    return {
        "accuracy": heldout.get("accuracy"),
        "low": heldout.get("low"),
        "high": heldout.get("high"),
        "labeler_agreement": None if agreement is None else agreement["value"],
        "demonstration_mean": summary.get("demonstration_mean"),
    }


def labeler_agreement(runs: Sequence[StageRun]) -> dict[str, Any] | None:
    """Pairwise agreement in the last round of labels in which prompts were ranked twice.

    `{value, low, high, n, ...}` as the `label` stage reports it; None when nobody ranked twice.
    """
    for run in reversed(of_stem(runs, "label")):
        found: dict[str, Any] | None = run.summary.get("labeler_agreement")
        if found is not None:
            return found
    return None


def label_judges(runs: Sequence[StageRun]) -> dict[str, Any] | None:
    """Summary of the last round of labels that several judges shared, else of the last, or None."""
    rounds = [run.summary for run in of_stem(runs, "label") if "judges" in run.summary]
    shared = [summary for summary in rounds if summary["agreement"]["judges"]]
    return (shared or rounds or [None])[-1]


def environment(runs: Sequence[StageRun]) -> dict[str, Any]:
    """Machine, versions and source revision of the last run that started."""
    last = runs[-1].manifest
    return {
        **last.get("environment", {}),
        "source": last.get("source"),
        "version": last.get("version"),
        "seed": last.get("seed"),
    }


def _models(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    reference = evaluation["reference"]
    return {name: _model(model, reference) for name, model in evaluation["models"].items()}


def _model(model: Mapping[str, Any], reference: str) -> dict[str, Any]:
    conditions: Mapping[str, Any] = {
        name: found for name, found in model["conditions"].items() if name in ("sampled", "greedy")
    }
    return {
        f"win_rate_vs_{reference}": {
            condition: {key: model["win_rate"][condition][key] for key in _BOUNDS}
            for condition in ("sampled", "greedy")
        },
        "gold": {
            name: None
            if found["gold"] is None
            else {**found["gold"], "ok": found["ok"]["overall"]["value"]}
            for name, found in conditions.items()
        },
        "accuracy": {
            name: None
            if found["accuracy"] is None
            else {group: found["accuracy"].get(group) for group in _ACCURACY_GROUPS}
            for name, found in conditions.items()
        },
        "pretraining_loss": model["pretraining_loss"],
        "kl": model["kl"],
        "length": {name: found["length"] for name, found in conditions.items()},
    }


def _stage(run: StageRun) -> dict[str, Any]:
    return {
        "seconds": run.seconds,
        "tokens": run.tokens,
        "tokens_per_second": run.tokens_per_second,
    }
