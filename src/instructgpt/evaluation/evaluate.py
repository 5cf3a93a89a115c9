"""Stage `evaluate`: every model answers the same held-out prompts, and the answers are compared.

Writes `evaluation.json` (all numbers) and `completions.jsonl` (every answer, side by side with its
verdicts). A model whose answers are complete is not asked again after an interruption.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from instructgpt.config.evaluate import EvaluateConfig
from instructgpt.data.jsonl import write_jsonl
from instructgpt.data.readers import stream_records
from instructgpt.data.records import Demonstration, Prompt
from instructgpt.data.splits import contamination
from instructgpt.data.spool import Spool
from instructgpt.distributed.world import World
from instructgpt.errors import DataError
from instructgpt.evaluation.answering import Answering, ModelRecord
from instructgpt.evaluation.answers import Answer, read_answers, write_answers
from instructgpt.evaluation.comparisons import (
    CONTROLS,
    all_comparisons,
    as_tables,
    judge_all,
    score_all,
)
from instructgpt.evaluation.conditions import SAMPLED
from instructgpt.evaluation.curves import ppo_curve
from instructgpt.evaluation.gold import GoldJudge, MicroworldGold
from instructgpt.evaluation.summarize import (
    Preference,
    describe_answers,
    text_metrics,
)
from instructgpt.judging.protocol import Judge
from instructgpt.panel import seat_judges
from instructgpt.progress import progress
from instructgpt.storage.atomic import atomic_write
from instructgpt.storage.judge_calls import FILE_NAME, JudgeCalls
from instructgpt.storage.run_dir import RunDir

logger = logging.getLogger(__name__)

JUDGE_NOTES: dict[Preference, str] = {
    "gold": "The world's gold score decides; no model saw it.",
    "judge_reward_model": "A second reward model decides, which no policy was trained against.",
    "reward_model": "The reward model that policies were trained against decides, and it flatters "
    "them: read these win rates as progress on the objective, not as preference.",
}


JUDGES_NOTE = (
    "A judge decides, who saw two answers at a time and not whose they were; "
    "one whom the order may sway saw both orders."
)


def run(config: EvaluateConfig, run: RunDir) -> dict[str, Any]:
    """Answer, measure, compare; returns the headline numbers."""
    world = World.from_launcher()
    gold = MicroworldGold(config.world) if config.world is not None else None
    prompts, left_out = _unseen_prompts(config, run.root)
    answering = Answering(config, prompts, gold, world, run.root)
    left_out["too_long"] = len(prompts) - len(answering.prompts)
    records = _answer_all(config, run, answering, world)
    if not world.is_main:
        return {}
    with JudgeCalls(run.path(FILE_NAME)) as calls:
        judges = _judges(config, gold, calls)
        texts = _reference_texts(config, answering.prompts)
        compared = compare_models(config, answering.prompts, records, texts, judges)
    evaluation = {
        "reference": config.reference,
        "temperature": config.sampling.temperature,
        "judge": judges[0].name if judges else preference_of(config),
        "judge_note": JUDGES_NOTE if judges else JUDGE_NOTES[preference_of(config)],
        "prompts": {"count": len(answering.prompts), "left_out": left_out},
        **compared,
        "curves": _curves(config, records, gold),
    }
    write_evaluation(run, evaluation, answering.prompts, records)
    return headline(evaluation)


def preference_of(config: EvaluateConfig) -> Preference:
    """Who decides win rates: gold, else an independent reward model, else the trained-on one."""
    if config.gold is not None:
        return "gold"
    return "judge_reward_model" if config.judge_reward_model is not None else "reward_model"


def compare_models(
    config: EvaluateConfig,
    prompts: Sequence[Prompt],
    records: Mapping[str, ModelRecord],
    references: dict[str, str],
    judges: Sequence[Judge] = (),
) -> dict[str, Any]:
    """`models`, `controls`, `judges` and their `agreement` of evaluation.json."""
    answers = {name: _by_condition(record.answers) for name, record in records.items()}
    comparisons = all_comparisons(answers, config.reference)
    about_judges: dict[str, Any] = {"judges": [], "agreement": None}
    if judges:
        by_judge, about_judges = judge_all(judges, comparisons, prompts, _scores(config))
        rates = by_judge[0]
    else:
        rates = score_all(comparisons, prompts, preference_of(config))
    tables = as_tables(comparisons, rates)
    models = {
        name: {
            "kind": records[name].kind,
            "win_rate": tables["win_rate"][name],
            **_describe_model(prompts, records[name], found, references),
        }
        for name, found in answers.items()
    }
    return {"models": models, "controls": tables[CONTROLS], **about_judges}


def headline(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """What goes into done.json and the closing table: win rates, tax, KL and length per model."""
    table = {}
    for name, model in evaluation["models"].items():
        sampled = model["conditions"][SAMPLED]
        table[name] = {
            "win_rate_sampled": _bounds(model["win_rate"]["sampled"]),
            "win_rate_greedy": _bounds(model["win_rate"]["greedy"]),
            "ok_sampled": sampled["ok"] and sampled["ok"]["overall"]["value"],
            "pretraining_loss": model["pretraining_loss"],
            "kl": model["kl"] and model["kl"]["value"],
            "length": sampled["length"]["value"],
        }
    return {
        "reference": evaluation["reference"],
        "judge": evaluation["judge"],
        "prompts": evaluation["prompts"]["count"],
        "models": table,
    }


def _judges(config: EvaluateConfig, gold: MicroworldGold | None, calls: JudgeCalls) -> list[Judge]:
    seats = seat_judges(
        config.judges,
        gold=None if gold is None else gold.gold,
        seed=config.seed,
        hardware=config.hardware,
        calls=calls,
    )
    return [judge for judge, _ in seats]


def _scores(config: EvaluateConfig) -> list[Preference]:
    """The scores that every answer has."""
    asked: dict[Preference, str | None] = {
        "gold": config.gold,
        "judge_reward_model": config.judge_reward_model,
        "reward_model": config.reward_model,
    }
    return [score for score, source in asked.items() if source is not None]


def _answer_all(
    config: EvaluateConfig, run: RunDir, answering: Answering, world: World
) -> dict[str, ModelRecord]:
    records = {}
    with progress("evaluate", total=len(config.models), unit="model") as bar:
        for index, name in enumerate(config.models):
            record = _read_record(run, name)
            if record is None:
                record = answering(name)
                if world.is_main:
                    _write_record(run, name, record)
            # answered at another time or now, the clock's part belongs to the timings alone
            run.log_timing(index, record.timing)
            world.barrier()
            records[name] = record
            bar.advance(1)
    return records


def _read_record(run: RunDir, name: str) -> ModelRecord | None:
    """What an earlier, interrupted process has finished; the second file is written last."""
    path = run.path("models", f"{name}.json")
    if not path.exists():
        return None
    facts = json.loads(path.read_text(encoding="utf-8"))
    return ModelRecord(read_answers(run.path("answers", f"{name}.jsonl")), **facts)


def _write_record(run: RunDir, name: str, record: ModelRecord) -> None:
    write_answers(run.path("answers", f"{name}.jsonl"), record.answers)
    facts = {
        "kind": record.kind,
        "pretraining_loss": record.pretraining_loss,
        "kl": record.kl,
        "curve": record.curve,
        "timing": record.timing,
    }
    atomic_write(run.path("models", f"{name}.json"), _json(facts))


def write_evaluation(
    run: RunDir,
    evaluation: dict[str, Any],
    prompts: Sequence[Prompt],
    records: Mapping[str, ModelRecord],
) -> None:
    """completions.jsonl, then evaluation.json."""
    rows = [
        {"model": name, **prompts[answer.prompt].to_dict(), **_verdicts(answer)}
        for name, record in records.items()
        for answer in record.answers
    ]
    write_jsonl(run.path("completions.jsonl"), rows)
    atomic_write(run.path("evaluation.json"), _json(evaluation))


def _verdicts(answer: Answer) -> dict[str, Any]:
    row = answer.to_dict()
    row["prompt_index"] = row.pop("prompt")
    return row


def _unseen_prompts(config: EvaluateConfig, folder: Path) -> tuple[list[Prompt], dict[str, int]]:
    """Evaluation prompts that no training file holds, and how many were left out.

    `folder` is for temporary files.
    """
    prompts = Spool(stream_records(config.prompts, Prompt), folder)
    trained_on = (p for path in config.training_files for p in stream_records(path, Prompt))
    shared = set(contamination(trained_on, prompts).indices)
    unseen = [i for i in range(len(prompts)) if i not in shared]
    contaminated = len(shared)
    if contaminated:
        logger.warning(
            "%d of %d evaluation prompts left out: training saw them", contaminated, len(prompts)
        )
    if not unseen:
        raise DataError(f"{config.prompts}: no prompt is left that training did not see")
    chosen = [prompts[i] for i in unseen[: config.num_prompts]]
    return chosen, {
        "seen_in_training": contaminated,
        "beyond_num_prompts": len(unseen) - len(chosen),
    }


def _reference_texts(config: EvaluateConfig, prompts: Sequence[Prompt]) -> dict[str, str]:
    """Prompt key -> the demonstrated answer, of those among `prompts` that have one."""
    if config.demonstrations is None:
        return {}
    wanted = {prompt.key for prompt in prompts}
    found = ((d.prompt.key, d) for d in stream_records(config.demonstrations, Demonstration))
    return {key: demonstration.completion for key, demonstration in found if key in wanted}


def _curves(
    config: EvaluateConfig, records: Mapping[str, ModelRecord], gold: GoldJudge | None
) -> dict[str, Any]:
    curves = {name: r.curve for name, r in records.items() if r.curve is not None}
    if gold is not None:
        curves |= {name: ppo_curve(Path(path), gold) for name, path in config.ppo_runs.items()}
    return curves


def _by_condition(answers: Sequence[Answer]) -> dict[str, list[Answer]]:
    found: dict[str, list[Answer]] = {}
    for answer in answers:
        found.setdefault(answer.condition, []).append(answer)
    return found


def _describe_model(
    prompts: Sequence[Prompt],
    record: ModelRecord,
    found: Mapping[str, Sequence[Answer]],
    references: dict[str, str],
) -> dict[str, Any]:
    """What is known of a model by itself: its answers per condition, KL, pretraining loss."""
    conditions = {
        condition: {
            **describe_answers(prompts, rows),
            "text": text_metrics(prompts, rows, references),
        }
        for condition, rows in found.items()
    }
    kl = conditions[SAMPLED]["kl"]
    if record.kl is not None:  # a formula, not a measurement
        kl = {"value": record.kl, "low": record.kl, "high": record.kl, "n": 0}
    return {"conditions": conditions, "kl": kl, "pretraining_loss": record.pretraining_loss}


def _bounds(rate: Mapping[str, Any]) -> dict[str, Any]:
    return {key: rate[key] for key in ("value", "low", "high", "n")}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
