"""The story of a loop so far: one HTML file that opens offline, and JSON with the same numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from instructgpt.errors import DataError
from instructgpt.evaluation.plots import Chart, Estimate, interval_chart
from instructgpt.evaluation.report_page import page_template
from instructgpt.evaluation.report_tables import duration
from instructgpt.evaluation.stage_runs import StageRun, of_stem, read_evaluation, read_stage_runs
from instructgpt.loop.places import round_folder, start_folder
from instructgpt.loop.view import interval_text, round_rows, view
from instructgpt.storage.atomic import atomic_write

# What a round's `evaluate` stage calls the two models, for its numbers to be shown.
CANDIDATE, BEFORE = "candidate", "before"
_SERIES = {
    "votes": "votes",
    "judges": "judges",
    "sampled": "gold, sampled",
    "greedy": "gold, greedy",
}


def write_loop_report(root: Path) -> Path:
    """Write report.html and report.json into the loop's folder; the page's path.

    Errors: RunDirError when there is no loop in `root`.
    """
    numbers = loop_numbers(root)
    atomic_write(root / "report.json", json.dumps(numbers, ensure_ascii=False, indent=2) + "\n")
    atomic_write(root / "report.html", render_loop(numbers))
    return root / "report.html"


def loop_numbers(root: Path) -> dict[str, Any]:
    """`loop.view` with what every round's stages measured: `gold`, `faultless`, `seconds`."""
    seen = view(root)
    seconds = sum(run.seconds or 0.0 for run in _runs(start_folder(root)))
    for one in seen["rounds"]:
        runs = _runs(round_folder(root, one["round"]))
        one["seconds"] = sum(run.seconds or 0.0 for run in runs)
        one["report"] = _own_report(root, runs)
        one |= _measured(runs)
    return {**seen, "start_seconds": seconds}


def render_loop(numbers: Mapping[str, Any]) -> str:
    """The page; deterministic given its numbers."""
    rounds = numbers["rounds"]
    total = numbers["start_seconds"] + sum(one["seconds"] for one in rounds)
    return page_template("loop.html.j2").render(
        name=numbers["name"],
        served=numbers["served"],
        total_time=duration(total),
        charts=[chart for chart in (_wins(rounds), _faultless(rounds), _thumbs(numbers)) if chart],
        rows=zip(rounds, round_rows(numbers), strict=True),
        duration=duration,
        interval_text=interval_text,
        history=numbers["history"],
    )


def _wins(rounds: Sequence[Mapping[str, Any]]) -> Chart | None:
    rows = {
        f"round {one['round']}": {
            label: _estimate(one[source])
            for source, label in _SERIES.items()
            if one[source] is not None
        }
        for one in rounds
        if any(one[source] is not None for source in _SERIES)
    }
    if not rows:
        return None
    return interval_chart(
        "loop-wins",
        rows,
        title="Is each candidate better than what was served?",
        xlabel="share won, ties half",
        note="Blind votes of users, and judges: intervals that hold whenever one looks. Gold score "
        "on held-out prompts: 95 % intervals, clustered by prompt; it decides nothing. Dashed: no "
        "difference.",
        reference=0.5,
        limits=(0.0, 1.0),
        palette=list(_SERIES.values()),
    )


def _faultless(rounds: Sequence[Mapping[str, Any]]) -> Chart | None:
    """The start as the first round measured it, then every candidate."""
    rows: dict[str, dict[str, Estimate | None]] = {}
    for one in rounds:
        if one["faultless"] is None:
            continue
        if not rows:
            rows[one["against"] or BEFORE] = _conditions(one["faultless"][BEFORE])
        rows[one["model"]] = _conditions(one["faultless"][CANDIDATE])
    if not rows:
        return None
    return interval_chart(
        "loop-faultless",
        rows,
        title="Faultless answers on held-out prompts",
        xlabel="share of answers",
        note="Every gold component is perfect; 95 % intervals.",
        limits=(0.0, 1.0),
    )


def _thumbs(numbers: Mapping[str, Any]) -> Chart | None:
    rows = {name: {"thumbs up": _estimate(share)} for name, share in numbers["thumbs"].items()}
    if not rows:
        return None
    return interval_chart(
        "loop-thumbs",
        rows,
        title="Thumbs up, as each model was used",
        xlabel="share of thumbs",
        note="95 % intervals (Wilson); users who thought it worth a thumb.",
        limits=(0.0, 1.0),
    )


def _measured(runs: Sequence[StageRun]) -> dict[str, Any]:
    """What the round's evaluation found of candidate and served model; None without one."""
    nothing: dict[str, Any] = {"sampled": None, "greedy": None, "faultless": None}
    for run in of_stem(runs, "evaluate"):
        evaluation = read_evaluation(run.path)
        models = evaluation["models"]
        if evaluation["reference"] != BEFORE or CANDIDATE not in models:
            continue
        rates = models[CANDIDATE]["win_rate"]
        return {
            "sampled": _kept(rates["sampled"]),
            "greedy": _kept(rates["greedy"]),
            "faultless": _faultless_shares(models),
        }
    return nothing


def _faultless_shares(models: Mapping[str, Any]) -> dict[str, Any] | None:
    shares = {
        name: {
            condition: _kept(models[name]["conditions"][condition]["ok"]["overall"])
            for condition in ("sampled", "greedy")
            if models[name]["conditions"][condition]["ok"]
        }
        for name in (BEFORE, CANDIDATE)
    }
    return shares if all(shares.values()) else None


def _kept(rate: Mapping[str, Any]) -> dict[str, Any]:
    return {key: rate[key] for key in ("value", "low", "high", "n")}


def _conditions(shares: Mapping[str, Any]) -> dict[str, Estimate | None]:
    return {condition: _estimate(share) for condition, share in shares.items()}


def _estimate(interval: Mapping[str, Any]) -> Estimate | None:
    if interval["value"] is None:
        return None
    return Estimate(interval["value"], interval["low"], interval["high"])


def _runs(folder: Path) -> list[StageRun]:
    """The stages of a round; none before its first has begun."""
    try:
        return read_stage_runs(folder)
    except DataError:
        return []


def _own_report(root: Path, runs: Sequence[StageRun]) -> str | None:
    found: Iterator[str] = (
        (run.path / "report.html").relative_to(root).as_posix() for run in of_stem(runs, "report")
    )
    return next(found, None)
