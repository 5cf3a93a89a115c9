"""Stage `label`: K completions per prompt, ranked blind, remembered in SQLite (paper 3.4)."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instructgpt.config.label import LabelConfig
from instructgpt.data.jsonl import read_jsonl, write_jsonl
from instructgpt.data.readers import load_prompts
from instructgpt.data.records import Prompt, Ranking
from instructgpt.errors import DataError
from instructgpt.judging.agreement import pairwise_agreement
from instructgpt.judging.protocol import RatingJudge
from instructgpt.microworld.gold import Gold
from instructgpt.microworld.labelers import hire_labelers, other_labeler
from instructgpt.microworld.world import World
from instructgpt.models.soft_prompt_files import load_answering_lm
from instructgpt.progress import progress
from instructgpt.rollout.engine import Engine
from instructgpt.storage.label_store import LabelStore
from instructgpt.storage.run_dir import RunDir
from instructgpt.training.examples import tokenize_prompts
from instructgpt.training.rollouts import longest_prompt, sampling_params


@dataclass(frozen=True, slots=True)
class Task:
    """A prompt with its distinct completions, and the models that wrote them."""

    prompt: Prompt
    completions: tuple[str, ...]
    models: tuple[str, ...]


def run(config: LabelConfig, run: RunDir) -> dict[str, Any]:
    """Sample, rank, store; writes rankings.jsonl, rankings_heldout.jsonl and
    rankings_other_labeler.jsonl (the held-out prompts as somebody with another rule sees them).
    """
    tasks = _sample(config)
    judges, other = _judges(config)
    store_path = run.path("labels.sqlite")
    for leftover in store_path.parent.glob("labels.sqlite*"):
        leftover.unlink()  # an interrupted attempt; every label below is made again, identically
    with LabelStore(store_path) as store, progress("label", len(tasks), unit="prompt") as bar:
        rankings, doubles = _rank(config, tasks, judges, store, bar.advance)
    heldout_keys = _heldout_keys(config, tasks)
    train = [r for r in rankings if r.prompt.key not in heldout_keys]
    heldout = [r for r in rankings if r.prompt.key in heldout_keys]
    earlier = [row for path in config.also for row in _earlier(path, heldout_keys)]
    write_jsonl(run.path("rankings.jsonl"), [*earlier, *(r.to_dict() for r in train)])
    write_jsonl(run.path("rankings_heldout.jsonl"), (r.to_dict() for r in heldout))
    seen_by_other = (
        Ranking(t.prompt, t.completions, tuple(other.rank(t.prompt, t.completions)), other.name)
        for t in tasks
        if t.prompt.key in heldout_keys
    )
    write_jsonl(run.path("rankings_other_labeler.jsonl"), (r.to_dict() for r in seen_by_other))
    return {
        "prompts": len(tasks),
        "completions": sum(len(t.completions) for t in tasks),
        "rankings": len(train),
        "rankings_heldout": len(heldout),
        "rankings_from_earlier_rounds": len(earlier),
        "comparisons": sum(len(r.pairs()) for r in train),
        "ties": sum(r.num_ties() for r in train),
        "labeler_agreement": _agreement(doubles),
    }


def _sample(config: LabelConfig) -> list[Task]:
    """K completions of each prompt, shared out among the models; identical ones count once."""
    records = load_prompts(config.prompts).records[: config.num_prompts]
    rng = random.Random(f"{config.seed}:k")
    wanted = [rng.randint(config.k_min, config.k_max) for _ in records]
    texts: list[list[str]] = [[] for _ in records]
    authors: list[list[str]] = [[] for _ in records]
    for number, source in enumerate(config.models):
        lm = load_answering_lm(source, device=config.hardware.device, dtype=config.hardware.dtype)
        renderer = lm.renderer()
        prompts, prompt_ids = tokenize_prompts(
            records, renderer, longest_prompt(lm.context, config.sampling)
        )
        if len(prompts) != len(records):
            raise DataError(
                f"{len(records) - len(prompts)} prompts do not fit the context of '{source}'; "
                "drop long prompts first"
            )
        engine = Engine(
            lm.model, renderer.stop_ids, lm.pad_id, config.sampling.max_slots, dtype=lm.dtype
        )
        params = sampling_params(config.sampling, config.seed + number)
        shares = [_share(k, number, len(config.models)) for k in wanted]
        for share in sorted(set(shares) - {0}):
            rows = [i for i, s in enumerate(shares) if s == share]
            found = engine.generate([prompt_ids[i] for i in rows], params, n=share, keys=rows)
            for row, rollouts in zip(rows, found, strict=True):
                texts[row] += [renderer.decode(r.completion_ids) for r in rollouts]
                authors[row] += [source] * len(rollouts)
    tasks = (_distinct(prompt, t, a) for prompt, t, a in zip(records, texts, authors, strict=True))
    return [task for task in tasks if len(task.completions) > 1]


def _share(k: int, number: int, of: int) -> int:
    """How many of k completions model `number` writes when `of` models take turns."""
    return len(range(number, k, of))


def _distinct(prompt: Prompt, texts: Sequence[str], authors: Sequence[str]) -> Task:
    by_text = dict(zip(reversed(texts), reversed(authors), strict=True))  # the first author counts
    ordered = list(dict.fromkeys(texts))
    return Task(prompt, tuple(ordered), tuple(by_text[text] for text in ordered))


def _judges(config: LabelConfig) -> tuple[list[RatingJudge], RatingJudge]:
    assert config.world is not None
    path = Path(config.world) / "world.json"
    try:
        world = World.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the world '{path}': {error}") from error
    gold = Gold(world)
    return [*hire_labelers(gold, config.num_labelers, config.seed)], other_labeler(
        gold, config.seed
    )


def _rank(
    config: LabelConfig,
    tasks: Sequence[Task],
    judges: Sequence[RatingJudge],
    store: LabelStore,
    advance: Any,
) -> tuple[list[Ranking], list[tuple[Sequence[int], Sequence[int]]]]:
    """Each task by one labeler, some by two; returns the first rankings and the double ones."""
    rng = random.Random(f"{config.seed}:assign")
    rankings: list[Ranking] = []
    doubles: list[tuple[Sequence[int], Sequence[int]]] = []
    for judge in judges:
        store.add_labeler(judge.name, kind="simulated")
    with store.transaction():
        for number, task in enumerate(tasks):
            first, second = rng.sample(range(len(judges)), 2)
            chosen = [judges[first]]
            if rng.random() < config.overlap:
                chosen.append(judges[second])
            ranked = [_submit(store, number, task, judge, rng) for judge in chosen]
            rankings.append(Ranking(task.prompt, task.completions, ranked[0], chosen[0].name))
            if len(ranked) == 2:
                doubles.append((ranked[0], ranked[1]))
            advance(1)
    return rankings, doubles


def _submit(
    store: LabelStore, number: int, task: Task, judge: RatingJudge, rng: random.Random
) -> tuple[int, ...]:
    """Show the completions in random order, record ranks, ratings and flags in the task's order."""
    order = list(range(len(task.completions)))
    rng.shuffle(order)
    shown = judge.rank(task.prompt, [task.completions[i] for i in order])
    assert shown is not None  # simulated labelers never abstain
    ranks = [0] * len(order)
    for position, index in enumerate(order):
        ranks[index] = int(shown[position])
    ratings = [judge.rate(task.prompt, text) for text in task.completions]
    task_id = store.add_task(
        task.prompt.to_dict(),
        [{"text": t, "model": m} for t, m in zip(task.completions, task.models, strict=True)],
    )
    names = dict.fromkeys(name for rating in ratings for name in rating.flags)
    store.submit(
        task_id,
        judge.name,
        ranks,
        client_uuid=f"{number}-{judge.name}",
        ratings=[rating.likert for rating in ratings],
        flags={name: [rating.flags.get(name) for rating in ratings] for name in names},
        order=order,
    )
    return tuple(ranks)


def _heldout_keys(config: LabelConfig, tasks: Sequence[Task]) -> set[str]:
    """Prompts whose rankings stay out of training: a function of seed and prompt, never of row."""
    keys = sorted({task.prompt.key for task in tasks})
    random.Random(f"{config.seed}:heldout").shuffle(keys)
    return set(keys[: max(1, round(len(keys) * config.heldout_fraction))])


def _earlier(path: str, heldout_keys: set[str]) -> list[dict[str, Any]]:
    """Training rankings of an earlier round, without the prompts that are held out now."""
    rows = [row for _, row in read_jsonl(Path(path) / "rankings.jsonl")]
    return [row for row in rows if Ranking.from_dict(row).prompt.key not in heldout_keys]


def _agreement(doubles: Sequence[tuple[Sequence[int], Sequence[int]]]) -> dict[str, Any] | None:
    """Share of untied pairs that two labelers order alike (paper: 72.6 +- 1.5 %)."""
    found = pairwise_agreement(doubles)
    if found.interval is None:
        return None
    return {**found.interval.to_dict(), "pairs": found.num_pairs, "ties": found.num_ties}
