"""What the report says of judges: who they were, how far they agree, how far places swayed them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from instructgpt.evaluation.report_names import in_order, model_label
from instructgpt.evaluation.report_tables import Evaluation, percent, rate_text

Numbers = Mapping[str, Any]

_KINDS = {
    "people": "people",
    "simulated": "simulated labelers",
    "ai": "AI",
    "reward_model": "reward models",
    "gold": "gold score",
    "judge_reward_model": "second reward model",
}
_DASH = "\N{EN DASH}"
# More names than this make a matrix that nobody reads; the table of kinds stays.
_LARGEST_MATRIX = 12


def judge_context(about: Numbers | None) -> dict[str, Any] | None:
    """The judges of a round of labels, or of an evaluation, as the template shows them."""
    if about is None or not about.get("judges"):
        return None
    agreement = about["agreement"]
    return {
        "rows": [_judge_row(judge) for judge in about["judges"]],
        "costs": any("questions" in judge for judge in about["judges"]),
        "kinds": [_kind_row(entry) for entry in agreement["kinds"]],
        "matrix": agreement_table(agreement["judges"]),
    }


def agreement_table(entries: Sequence[Numbers]) -> dict[str, Any] | None:
    """Names and, for every two, agreement with interval, pairs and prompts; None when too many."""
    names = list(dict.fromkeys(name for entry in entries for name in (entry["a"], entry["b"])))
    if not names or len(names) > _LARGEST_MATRIX:
        return None
    cells = {(e["a"], e["b"]): _cell(e) for e in entries}
    cells |= {(b, a): cell for (a, b), cell in cells.items()}
    empty = {"rate": _DASH, "pairs": ""}
    rows = [{"name": a, "cells": [cells.get((a, b), empty) for b in names]} for a in names]
    return {"names": names, "rows": rows}


def judged_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Win rates of every model by every judge, sampled and greedy."""
    return [
        {
            "model": model_label(name),
            "cells": [
                {mode: rate_text(judge["win_rate"][name][mode]) for mode in ("sampled", "greedy")}
                for judge in evaluation.get("judges", [])
            ],
        }
        for name in in_order(evaluation["models"])
    ]


def _judge_row(judge: Numbers) -> dict[str, str]:
    consistency = judge.get("order_consistency")
    if isinstance(consistency, Mapping):
        consistency = consistency["value"]
    cost = judge.get("cost")
    return {
        "name": judge["name"],
        "kind": _KINDS.get(judge["kind"], judge["kind"]),
        "asked": f"{judge['asked']:,}",
        "abstained": f"{judge['abstained']:,}",
        "failures": ", ".join(f"{count} {why}" for why, count in judge.get("failures", {}).items()),
        "consistency": percent(consistency),
        "first": rate_text(judge.get("first_shown_wins")),
        "questions": f"{judge['questions']:,}" if "questions" in judge else _DASH,
        "tokens": _tokens(judge),
        "cost": _DASH if cost is None else f"{cost:.4g}",
    }


def _tokens(judge: Numbers) -> str:
    if judge.get("tokens_in") is None:
        return _DASH
    return f"{judge['tokens_in']:,} / {judge['tokens_out']:,}"


def _kind_row(entry: Numbers) -> dict[str, str]:
    first, second = (_KINDS.get(entry[side], entry[side]) for side in ("a", "b"))
    return {"kinds": f"{first} and {second}", **_cell(entry), "ties": f"{entry['ties']:,}"}


def _cell(entry: Numbers) -> dict[str, str]:
    return {"rate": rate_text(entry), "pairs": f"{entry['pairs']:,} in {entry['n']:,}"}
