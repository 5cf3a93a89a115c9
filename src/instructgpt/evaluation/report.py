"""Stage `report`: one HTML file that opens offline, and report.json with the same numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from instructgpt.config.report import ReportConfig
from instructgpt.errors import DataError
from instructgpt.evaluation import report_charts as charts
from instructgpt.evaluation import report_judges as judges
from instructgpt.evaluation import report_tables as tables
from instructgpt.evaluation.examples import read_examples
from instructgpt.evaluation.lineage import lineage, lineage_svg
from instructgpt.evaluation.plots import Chart
from instructgpt.evaluation.report_json import (
    label_judges,
    labeler_agreement,
    report_json,
    reward_model_numbers,
)
from instructgpt.evaluation.report_names import model_label
from instructgpt.evaluation.report_page import page_template
from instructgpt.evaluation.stage_runs import StageRun, of_stem, read_evaluation, read_stage_runs
from instructgpt.storage.atomic import atomic_write
from instructgpt.storage.run_dir import RunDir

# Grouping -> prefix of its members in the chart of strata.
_STRATA = {"by_language": "", "by_phrasing": "phrasing ", "by_fact": "fact "}


def run(config: ReportConfig, run: RunDir) -> dict[str, Any]:
    """Write report.html and report.json into the run directory."""
    root = Path(config.root) if config.root is not None else run.path().resolve().parent
    runs = [r for r in read_stage_runs(root) if r.path.resolve() != run.path().resolve()]
    if not runs:
        raise DataError(f"'{root}' holds no other run than this report's")
    source = _evaluation_dir(config, runs)
    evaluation = None if source is None else read_evaluation(source)
    examples = (
        [] if source is None else read_examples(source / "completions.jsonl", config.num_examples)
    )
    numbers = report_json(runs, evaluation)
    if run.writes:
        atomic_write(
            run.path("report.json"), json.dumps(numbers, ensure_ascii=False, indent=2) + "\n"
        )
        atomic_write(run.path("report.html"), render(config.title, runs, evaluation, examples))
    return {"html": "report.html", "json": "report.json", "missing": missing(runs, evaluation)}


def render(
    title: str,
    runs: Sequence[StageRun],
    evaluation: Mapping[str, Any] | None,
    examples: Sequence[Mapping[str, Any]],
) -> str:
    """The page; deterministic given its inputs."""
    template = page_template("report.html.j2")
    nodes = lineage(runs)
    return template.render(
        title=title,
        finished=max((r.done["finished"] for r in runs if r.done), default=""),
        total_time=tables.duration(sum(r.seconds or 0.0 for r in runs)),
        missing=missing(runs, evaluation),
        **_evaluation_context(evaluation, runs),
        examples=examples,
        filters=_filters(examples),
        label_judges=judges.judge_context(label_judges(runs)),
        reward_model=_reward_model_context(runs),
        learning=charts.learning_charts(runs),
        timing=charts.timing_chart(runs),
        stages=tables.stage_rows(runs),
        nodes=nodes,
        lineage=lineage_svg(nodes),
        environment=tables.environment_rows(report_json(runs, None)["environment"]),
    )


def missing(runs: Sequence[StageRun], evaluation: Mapping[str, Any] | None) -> list[str]:
    """What the report cannot show, in words."""
    notes = [f"Stage {run.name} has not finished." for run in runs if run.done is None]
    if evaluation is None:
        notes.append("There is no evaluation: win rates, accuracy, KL and examples are absent.")
    else:
        absent = [
            name
            for name in ("base", "sft", "best_of_n", "dpo", "ppo", "ppo_ptx")
            if name not in evaluation["models"]
        ]
        if absent:
            notes.append(f"Not evaluated: {', '.join(map(model_label, absent))}.")
        if all(m["pretraining_loss"] is None for m in evaluation["models"].values()):
            notes.append("No pretraining loss was measured: the alignment tax is unknown.")
    if not of_stem(runs, "reward_model"):
        notes.append("There is no finished reward model.")
    return notes


def _evaluation_dir(config: ReportConfig, runs: Sequence[StageRun]) -> Path | None:
    if config.evaluation is not None:
        return Path(config.evaluation)
    found = of_stem(runs, "evaluate")
    if len(found) > 1:
        raise DataError(
            f"several evaluations ({', '.join(r.name for r in found)}): name one with `evaluation`"
        )
    return found[0].path if found else None


def _evaluation_context(
    evaluation: Mapping[str, Any] | None, runs: Sequence[StageRun]
) -> dict[str, Any]:
    """Everything the page shows of the evaluation; empty sections without one."""
    if evaluation is None:
        nothing = {"evaluation": None, "evaluation_judges": None}
        return {**nothing, "reward_over_kl": charts.reward_over_kl(runs, {})}
    accuracy = partial(charts.accuracy_chart, evaluation)
    return {
        "evaluation": evaluation,
        "reference": model_label(evaluation["reference"]),
        "headlines": tables.headlines(evaluation),
        "win_rates": charts.win_rate_chart(evaluation),
        "models": tables.model_rows(evaluation),
        "evaluation_judges": judges.judge_context(evaluation),
        "judged": judges.judged_rows(evaluation),
        "controls": tables.control_rows(evaluation),
        "accuracy_charts": _measured(
            accuracy("sampled", {"by_task": ""}),
            accuracy("greedy", {"by_task": ""}),
            accuracy("sampled", _STRATA),
            accuracy("greedy", _STRATA),
        ),
        "accuracy_tables": tables.group_tables(evaluation, "accuracy"),
        "ok_tables": tables.group_tables(evaluation, "ok"),
        "components": tables.component_table(evaluation),
        "classes": tables.class_rows(evaluation),
        "texts": tables.text_rows(evaluation),
        "signatures": tables.signatures(evaluation),
        "tax_charts": _measured(charts.tax_chart(evaluation), charts.tax_over_training(runs)),
        "reward_over_kl": charts.reward_over_kl(runs, evaluation["curves"]),
        "overoptimization": charts.overoptimization_charts(evaluation["curves"]),
    }


def _reward_model_context(runs: Sequence[StageRun]) -> dict[str, Any] | None:
    trained = of_stem(runs, "reward_model")
    if not trained:
        return None
    summary = trained[-1].summary
    numbers = reward_model_numbers(runs)
    accuracy = None
    if numbers["accuracy"] is not None:
        accuracy = tables.rate_text({**numbers, "value": numbers["accuracy"]})
    other = summary.get("other_labeler")
    agreement = labeler_agreement(runs)
    return {
        "name": trained[-1].name,
        "chart": charts.reward_model_chart(runs),
        "facts": [
            ("Accuracy on held-out prompts", accuracy),
            ("Labelers agree with each other", agreement and tables.rate_text(agreement)),
            (
                "Accuracy on a labeler rule it never saw",
                other and tables.rate_text({**other, "value": other["accuracy"]}),
            ),
            ("Comparisons held out", (summary.get("heldout") or {}).get("pairs")),
            ("Ties dropped there", (summary.get("heldout") or {}).get("ties_dropped")),
            ("Rankings trained on", summary.get("rankings")),
            (
                "Mean score of demonstrations",
                None
                if numbers["demonstration_mean"] is None
                else tables.number(numbers["demonstration_mean"], 4),
            ),
        ],
    }


def _filters(examples: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    return {
        key: sorted({str(e[key]) for e in examples if e[key] is not None})
        for key in ("task", "language")
    }


def _measured(*found: Chart | None) -> list[Chart]:
    return [chart for chart in found if chart is not None]
