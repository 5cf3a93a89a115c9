"""Which charts the report shows, from an evaluation and the stages' metrics."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from instructgpt.evaluation.plots import (
    Chart,
    Estimate,
    Series,
    bar_chart,
    interval_chart,
    line_chart,
    thin,
)
from instructgpt.evaluation.report_json import labeler_agreement
from instructgpt.evaluation.report_names import (
    MODEL_PALETTE,
    in_order,
    model_label,
    stage_label,
)
from instructgpt.evaluation.stage_runs import StageRun, of_stem

Evaluation = Mapping[str, Any]

# stem -> charts of its metrics: (title, y label, {metric: legend}).
_LEARNING: dict[str, list[tuple[str, str, dict[str, str]]]] = {
    "pretrain": [("loss", "nats per token", {"loss": "training", "heldout_loss": "held out"})],
    "sft": [
        (
            "loss",
            "nats per token",
            {"loss": "training", "valid_loss": "validation", "pretraining_loss": "pretraining mix"},
        ),
        ("reward-model score", "score", {"reward_score": "validation prompts"}),
    ],
    "reward_model": [
        ("ranking loss", "nats per pair", {"loss": "training", "heldout_loss": "held out"}),
        ("pair accuracy", "accuracy", {"accuracy": "training", "heldout_accuracy": "held out"}),
    ],
    "dpo": [("loss", "nats per pair", {"loss": "training", "heldout_loss": "held out"})],
}
# The same for PPO, whose runs (with and without the pretraining term) share each chart.
_PPO_LEARNING: list[tuple[str, str, str]] = [
    ("score", "reward-model score", "score"),
    ("kl", "KL from the start", "nats per answer"),
    ("length", "answer length", "tokens"),
    ("entropy", "entropy", "nats per token"),
    ("eval_score", "reward-model score, held-out prompts", "score"),
    ("eval_kl", "KL from the start, held-out prompts", "nats per answer"),
]
_MAX_PHASES = 6


def win_rate_chart(evaluation: Evaluation) -> Chart:
    """The paper's figure: win rate of every model over the reference, sampled and greedy."""
    models = evaluation["models"]
    reference = model_label(evaluation["reference"])
    rows = {
        model_label(name): {
            "sampled, T = " + f"{evaluation['temperature']:g}": _estimate(
                models[name]["win_rate"]["sampled"]
            ),
            "greedy": _estimate(models[name]["win_rate"]["greedy"]),
        }
        for name in in_order(models)[::-1]
    }
    return interval_chart(
        "win-rate",
        rows,
        title=f"Win rate against {reference}",
        xlabel="share of prompts won, ties half",
        note="95 % intervals, clustered by prompt; dashed: no difference.",
        reference=0.5,
        limits=(0.0, 1.0),
    )


def accuracy_chart(
    evaluation: Evaluation, condition: str, groups: Mapping[str, str]
) -> Chart | None:
    """Share of right answers per group and model; `groups`: grouping -> prefix of its labels."""
    models = evaluation["models"]
    rows: dict[str, dict[str, Estimate | None]] = {}
    for name in in_order(models):
        found = models[name]["conditions"].get(condition, {}).get("ok")
        if not found:
            continue
        for grouping, prefix in groups.items():
            for member, rate in found[grouping].items():
                label = f"{prefix}{member.replace('_', ' ')}"
                rows.setdefault(label, {})[model_label(name)] = _estimate(rate)
    if not rows:
        return None
    return interval_chart(
        f"ok-{condition}-{'-'.join(groups)}".replace("_", "-"),
        rows,
        title=f"Faultless answers, {condition}",
        xlabel="share of answers",
        note="Every gold component is perfect; 95 % intervals.",
        limits=(0.0, 1.0),
        palette=MODEL_PALETTE,
    )


def tax_chart(evaluation: Evaluation) -> Chart | None:
    """Loss on held-out pretraining documents per model; above the reference's is the tax."""
    losses = {n: m["pretraining_loss"] for n, m in evaluation["models"].items()}
    known = [n for n in in_order(losses) if losses[n] is not None and _has_weights(evaluation, n)]
    if not known:
        return None
    rows = {model_label(n): {"pretraining loss": Estimate(losses[n])} for n in known[::-1]}
    return interval_chart(
        "tax",
        rows,
        title="Loss on held-out pretraining documents",
        xlabel="nats per token",
        note=f"Right of the dashed line ({model_label(evaluation['reference'])}): a tax.",
        reference=losses.get(evaluation["reference"]),
    )


def tax_over_training(runs: Sequence[StageRun]) -> Chart | None:
    """The same loss along PPO, with and without the pretraining term."""
    series = _series(of_stem(runs, "ppo"), "pretraining_loss")
    if not series:
        return None
    return line_chart(
        "tax-over-training",
        series,
        title="Pretraining loss along PPO",
        xlabel="iteration",
        ylabel="nats per token",
        markers=True,
        palette=MODEL_PALETTE,
    )


def reward_over_kl(runs: Sequence[StageRun], curves: Mapping[str, Any]) -> Chart | None:
    """What each method pays in KL for its reward."""
    series = []
    for run in of_stem(runs, "ppo"):
        rows = [r for r in run.metrics if r.get("kl") is not None and r.get("score") is not None]
        ordered = sorted((float(r["kl"]), float(r["score"])) for r in rows)
        if ordered:
            x, y = thin([k for k, _ in ordered], [s for _, s in ordered], limit=40)
            series.append(Series(model_label(run.name), x, y))
    for name, curve in curves.items():
        if curve["form"] == "bon":
            points = curve["points"]
            x, y = [p["kl"] for p in points], [p["proxy"] for p in points]
            series.append(Series(model_label(name), x, y))
    if not series:
        return None
    return line_chart(
        "reward-over-kl",
        series,
        title="Reward against KL",
        xlabel="KL from the start (nats per answer)",
        ylabel="reward-model score",
        markers=True,
        palette=MODEL_PALETTE,
    )


def overoptimization_charts(curves: Mapping[str, Any]) -> list[Chart]:
    """Gold and proxy over KL, both as gains over the start; the gold peak is marked."""
    charts = []
    for name, curve in curves.items():
        points, peak = curve["points"], curve["peak"]
        start = points[0]
        gold = [p["gold"] - start["gold"] for p in points]
        proxy = [p["proxy"] - start["proxy"] for p in points]
        kl = [p["kl"] for p in points]
        charts.append(
            line_chart(
                _id("overoptimization", name),
                [Series("gold score", kl, gold), Series("proxy: reward-model score", kl, proxy)],
                title=f"Gold against proxy: {model_label(name)}",
                note=_curve_note(curve),
                xlabel="KL from the start (nats per answer)",
                ylabel="gain over the start",
                markers=True,
                mark=(peak["kl"], peak["gold"] - start["gold"], f"peak: {peak['label']}"),
            )
        )
    return charts


def _curve_note(curve: Mapping[str, Any]) -> str:
    peak, fit = curve["peak"], curve["fit"]
    if curve["overoptimized"]:
        note = f"Gold peaks at KL {peak['kl']:.2f}, then falls while the proxy still rises."
    else:
        note = "Gold has not turned in the measured range."
    if fit is not None and fit["peak_kl"] is not None and fit["r_squared"] is not None:
        note += f" Gao et al.'s form: peak at KL {fit['peak_kl']:.3g}, R2 {fit['r_squared']:.2f}."
    return note


def learning_charts(runs: Sequence[StageRun]) -> list[Chart]:
    """Training metrics of every stage that has some; all PPO runs share charts."""
    charts = []
    for run in runs:
        for index, (title, ylabel, metrics) in enumerate(_LEARNING.get(run.stem, [])):
            found = [(legend, thin(*run.column(metric))) for metric, legend in metrics.items()]
            series = [Series(legend, x, y) for legend, (x, y) in found if x]
            if series:
                charts.append(
                    line_chart(
                        _id(f"learning-{index}", run.name),
                        series,
                        title=f"{model_label(run.name)}: {title}",
                        xlabel="step",
                        ylabel=ylabel,
                    )
                )
    return charts + _ppo_learning_charts([run for run in runs if run.stem == "ppo"])


def _ppo_learning_charts(runs: Sequence[StageRun]) -> list[Chart]:
    charts = []
    for metric, title, ylabel in _PPO_LEARNING:
        series = _series(runs, metric)
        if series:
            charts.append(
                line_chart(
                    _id("learning-ppo", metric),
                    series,
                    title=f"PPO: {title}",
                    xlabel="iteration",
                    ylabel=ylabel,
                    palette=MODEL_PALETTE,
                )
            )
    return charts


def reward_model_chart(runs: Sequence[StageRun]) -> Chart | None:
    """Accuracy of the last reward model: held out, other labeler, by margin and by length."""
    trained = of_stem(runs, "reward_model")
    heldout = trained[-1].summary.get("heldout") if trained else None
    if not heldout:
        return None
    rates = {
        "held-out prompts": heldout,
        "another labeler's rule": trained[-1].summary.get("other_labeler"),
        "longer preferred": heldout["by_length"]["longer_preferred"],
        "shorter preferred": heldout["by_length"]["shorter_preferred"],
        **{
            f"margin, {name.replace('_', ' ')}": rate for name, rate in heldout["by_margin"].items()
        },
    }
    rows = {
        label: {"accuracy": Estimate(rate["accuracy"], rate["low"], rate["high"])}
        for label, rate in rates.items()
        if rate and rate["accuracy"] is not None
    }
    agreement = labeler_agreement(runs)
    dashed = "chance" if agreement is None else "labelers' agreement"
    return interval_chart(
        "reward-model",
        rows,
        title="Pairs that it orders as labelers did",
        xlabel="share of pairs",
        note="95 % intervals; margin: |score difference|, least sure quarter first; "
        f"dashed: {dashed}.",
        reference=0.5 if agreement is None else agreement["value"],
        limits=(0.0, 1.0),
    )


def timing_chart(runs: Sequence[StageRun]) -> Chart | None:
    """Seconds per stage, split into phases; small phases share `other`."""
    timed = [run for run in runs if run.seconds is not None]
    totals: dict[str, float] = {}
    for run in timed:
        for phase, seconds in run.phases().items():
            totals[phase] = totals.get(phase, 0.0) + seconds
    if not timed or sum(totals.values()) <= 0:
        return None
    ranked = sorted((p for p in totals if p != "other"), key=lambda p: -totals[p])
    shown = ranked[: _MAX_PHASES - 1]
    bars = []
    for run in timed:
        phases = run.phases()
        parts = [phases.get(phase, 0.0) for phase in shown]
        bars.append((run.name, [*parts, sum(phases.values()) - sum(parts)]))
    return bar_chart(
        "timing",
        bars,
        [*(stage_label(phase) for phase in shown), "other"],
        title="Seconds per stage and phase",
        xlabel="seconds",
    )


def _series(runs: Sequence[StageRun], metric: str) -> list[Series]:
    series = []
    for run in runs:
        x, y = thin(*run.column(metric))
        if x:
            series.append(Series(model_label(run.name), x, y))
    return series


def _estimate(rate: Mapping[str, Any] | None) -> Estimate | None:
    if not rate or rate["value"] is None:
        return None
    return Estimate(rate["value"], rate["low"], rate["high"])


def _has_weights(evaluation: Evaluation, name: str) -> bool:
    """Best-of-n has the weights, and so the loss, of the model that it samples."""
    return bool(evaluation["models"][name]["kind"] != "best_of_n")


def _id(prefix: str, name: str) -> str:
    return f"{prefix}-" + re.sub(r"[^A-Za-z0-9]+", "-", name)
