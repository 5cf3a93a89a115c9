"""The report's texts and tables, as plain values for the template: no HTML here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from instructgpt.evaluation.report_names import in_order, model_label, stage_label
from instructgpt.evaluation.stage_runs import StageRun

Rate = Mapping[str, Any]
Evaluation = Mapping[str, Any]

GROUPINGS = {
    "by_task": "task",
    "by_kind": "kind",
    "by_language": "language",
    "by_phrasing": "phrasing",
    "by_fact": "fact",
    "by_both": "phrasing and fact",
}


def percent(value: float | None) -> str:
    """0.703 -> 70 %; unknown is a dash."""
    return "\N{EN DASH}" if value is None else f"{100 * value:.0f} %"


def rate_text(rate: Rate | None) -> str:
    """`70 % [66, 74]`."""
    if rate is None or rate["value"] is None:
        return "\N{EN DASH}"
    return f"{percent(rate['value'])} {bounds_text(rate)}"


def bounds_text(rate: Rate) -> str:
    """`[66, 74]` in percent."""
    return f"[{100 * rate['low']:.0f}, {100 * rate['high']:.0f}]"


def number(value: float | None, digits: int = 3) -> str:
    """A number with `digits` decimals; unknown is a dash."""
    return "\N{EN DASH}" if value is None else f"{value:.{digits}f}"


def interval_text(found: Rate | None, digits: int = 2) -> str:
    """`4.21 [4.15, 4.27]`; without bounds where they are unknown or there is nothing between."""
    if found is None or found["value"] is None:
        return "\N{EN DASH}"
    value = number(found["value"], digits)
    if found["low"] is None or found["low"] == found["high"]:
        return value
    return f"{value} [{number(found['low'], digits)}, {number(found['high'], digits)}]"


def duration(seconds: float | None) -> str:
    """`7 min 05 s`, `1 h 02 min`, `3.2 s`."""
    if seconds is None:
        return "\N{EN DASH}"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def verdict(sampled: Rate, greedy: Rate, reference: str, has_greedy: bool = True) -> str:
    """What the two intervals allow to say, and no more."""
    if sampled["value"] is None or greedy["value"] is None:
        return "was not judged"
    if sampled["low"] > 0.5 and greedy["low"] > 0.5:
        return f"beats {reference}, sampled and greedy"
    if sampled["high"] < 0.5 and greedy["high"] < 0.5:
        return f"loses to {reference}, sampled and greedy"
    if sampled["low"] > 0.5 and not has_greedy:
        return f"beats {reference}'s samples, not its greedy answers"
    if sampled["low"] > 0.5:
        return f"beats {reference} when sampled, not greedy against greedy: perhaps mere sharpening"
    if greedy["low"] > 0.5:
        return f"beats {reference} greedy against greedy, not when sampled"
    return f"cannot be told from {reference} in both modes"


def headlines(evaluation: Evaluation) -> list[dict[str, str]]:
    """One sentence per trained policy, the last of the paper's order first."""
    reference = model_label(evaluation["reference"])
    lines = []
    for name in in_order(evaluation["models"])[::-1]:
        if name in ("base", evaluation["reference"]):
            continue
        rates = evaluation["models"][name]["win_rate"]
        sampled, greedy = rates["sampled"], rates["greedy"]
        has_greedy = "greedy" in evaluation["models"][name]["conditions"]
        lines.append(
            {
                "model": model_label(name),
                "verdict": verdict(sampled, greedy, reference, has_greedy),
                "sampled": rate_text(sampled),
                "greedy": rate_text(greedy),
            }
        )
    return lines


def model_rows(evaluation: Evaluation) -> list[dict[str, str]]:
    """One row per model: win rates, gold, reward, KL, length, end tokens, pretraining loss."""
    rows = []
    for name in in_order(evaluation["models"]):
        model = evaluation["models"][name]
        sampled = model["conditions"]["sampled"]
        greedy = model["conditions"].get("greedy")
        rows.append(
            {
                "model": model_label(name),
                "sampled": rate_text(model["win_rate"]["sampled"]),
                "greedy": rate_text(model["win_rate"]["greedy"]),
                "sampled_vs_greedy": rate_text(model["win_rate"]["sampled_vs_greedy"]),
                "ties": percent(model["win_rate"]["sampled"]["ties"]),
                "ok": _pair(_overall(sampled, "ok"), _overall(greedy, "ok"), percent),
                "gold": _pair(_value(sampled, "gold"), _value(greedy, "gold"), _two),
                "reward": interval_text(sampled["reward"]),
                "kl": interval_text(model["kl"]),
                "length": _pair(_value(sampled, "length"), _value(greedy, "length"), _one),
                "eos": percent(_value(sampled, "eos_rate")),
                "pretraining_loss": number(model["pretraining_loss"]),
            }
        )
    return rows


def control_rows(evaluation: Evaluation) -> list[dict[str, str]]:
    """The reference against itself: sampled again, at lower temperatures, greedy."""
    reference = model_label(evaluation["reference"])
    names = {
        "resampled": "sampled a second time (should be 50 %)",
        "greedy": "greedy",
    }
    return [
        {
            "name": f"{reference} {names.get(c, c.replace('temperature-', 'at T = '))}",
            "rate": rate_text(rate),
            "ties": percent(rate["ties"]),
        }
        for c, rate in evaluation["controls"].items()
    ]


def group_tables(evaluation: Evaluation, measure: str) -> list[dict[str, Any]]:
    """For `measure` (accuracy or ok): one table per grouping, `sampled / greedy` per model."""
    models = evaluation["models"]
    names = [n for n in in_order(models) if models[n]["conditions"]["sampled"][measure]]
    tables = []
    for grouping, title in GROUPINGS.items():
        members = dict.fromkeys(
            m for n in names for m in models[n]["conditions"]["sampled"][measure][grouping]
        )
        rows = [
            {
                "name": member.replace("_", " "),
                "n": _member(models[names[0]], "sampled", measure, grouping, member, "n"),
                "cells": [
                    _pair(
                        _member(models[n], "sampled", measure, grouping, member, "value"),
                        _member(models[n], "greedy", measure, grouping, member, "value"),
                        percent,
                    )
                    for n in names
                ],
            }
            for member in members
        ]
        if rows:
            tables.append({"title": title, "models": [model_label(n) for n in names], "rows": rows})
    return tables


def component_table(evaluation: Evaluation) -> dict[str, Any] | None:
    """Mean of every gold component, `sampled / greedy` per model: which faults are left."""
    conditions = {n: evaluation["models"][n]["conditions"] for n in in_order(evaluation["models"])}
    names = [n for n, found in conditions.items() if found["sampled"]["components"]]
    if not names:
        return None

    def mean(name: str, condition: str, component: str) -> float | None:
        found = (conditions[name].get(condition) or {}).get("components") or {}
        return found.get(component)

    rows = [
        {
            "name": component.replace("_", " "),
            "cells": [
                _pair(mean(n, "sampled", component), mean(n, "greedy", component), percent)
                for n in names
            ],
        }
        for component in conditions[names[0]]["sampled"]["components"]
    ]
    return {"models": [model_label(n) for n in names], "rows": rows}


def class_rows(evaluation: Evaluation) -> list[dict[str, str]]:
    """Precision and recall of every class, per model and condition."""
    rows = []
    for name in in_order(evaluation["models"]):
        for condition, found in evaluation["models"][name]["conditions"].items():
            if condition not in ("sampled", "greedy"):
                continue
            for label, scores in (found["classes"] or {}).items():
                rows.append(
                    {
                        "class": label.replace("_", " "),
                        "model": model_label(name),
                        "condition": condition,
                        "precision": percent(scores["precision"]),
                        "recall": percent(scores["recall"]),
                        "f1": percent(scores["f1"]),
                    }
                )
    return sorted(rows, key=lambda row: row["class"])


def text_rows(evaluation: Evaluation) -> list[dict[str, str]]:
    """Exact match, F1, ROUGE-L, BLEU and chrF against reference texts, where there are any."""
    rows = []
    for name in in_order(evaluation["models"]):
        for condition, found in evaluation["models"][name]["conditions"].items():
            text = found.get("text")
            if not text or condition not in ("sampled", "greedy"):
                continue
            bleu = [
                f"{language} {scores['bleu']['score']:.1f} / {scores['chrf']['score']:.1f}"
                for language, scores in text["translation"].items()
            ]
            rows.append(
                {
                    "model": model_label(name),
                    "condition": condition,
                    "exact_match": rate_text(text["overall"]["exact_match"]),
                    "f1": rate_text(text["overall"]["f1"]),
                    "rouge_l": rate_text(text["overall"]["rouge_l"]),
                    "bleu": "; ".join(bleu) or "\N{EN DASH}",
                }
            )
    return rows


def signatures(evaluation: Evaluation) -> list[str]:
    """sacrebleu's signatures: without them a BLEU cannot be compared."""
    found = {
        scores[metric]["signature"]
        for model in evaluation["models"].values()
        for condition in model["conditions"].values()
        for scores in ((condition.get("text") or {}).get("translation") or {}).values()
        for metric in ("bleu", "chrf")
    }
    return sorted(found)


def stage_rows(runs: Sequence[StageRun]) -> list[dict[str, str]]:
    """Seconds, tokens and rate of every stage."""
    rows = []
    for run in runs:
        rate = run.tokens_per_second
        rows.append(
            {
                "name": run.name,
                "kind": stage_label(run.stem),
                "time": duration(run.seconds) if run.done else "not finished",
                "tokens": "\N{EN DASH}" if run.tokens is None else f"{run.tokens:,}",
                "rate": "\N{EN DASH}" if rate is None else f"{rate:,.0f}",
            }
        )
    return rows


def environment_rows(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Machine and versions, flattened."""
    rows = []
    for key, value in environment.items():
        if isinstance(value, Mapping):
            text = ", ".join(f"{k} {v}" for k, v in value.items() if v is not None)
        elif isinstance(value, list):
            text = ", ".join(map(str, value)) or "none"
        else:
            text = "\N{EN DASH}" if value is None else str(value)
        rows.append((key, text))
    return rows


def _two(value: float | None) -> str:
    return number(value, 2)


def _one(value: float | None) -> str:
    return number(value, 1)


def _pair(sampled: float | None, greedy: float | None, form: Any) -> str:
    return f"{form(sampled)} / {form(greedy)}"


def _value(condition: Mapping[str, Any] | None, key: str) -> float | None:
    found = (condition or {}).get(key)
    return None if found is None else found["value"]


def _overall(condition: Mapping[str, Any] | None, measure: str) -> float | None:
    found = (condition or {}).get(measure)
    return None if found is None else found["overall"]["value"]


def _member(
    model: Mapping[str, Any], condition: str, measure: str, grouping: str, member: str, key: str
) -> Any:
    found = (model["conditions"].get(condition) or {}).get(measure) or {}
    return found.get(grouping, {}).get(member, {}).get(key)
