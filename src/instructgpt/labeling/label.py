"""Stage `label`: K completions per prompt, ranked blind, remembered in SQLite (paper 3.4)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from instructgpt.config.label import LabelConfig
from instructgpt.data.jsonl import read_jsonl, write_jsonl
from instructgpt.data.readers import load_prompts
from instructgpt.data.records import Ranking
from instructgpt.errors import DataError
from instructgpt.judging.agreement_matrix import GivenRanking, agreement_matrix
from instructgpt.labeling.tasks import PEOPLE, Task, sample_tasks, tasks_of_people
from instructgpt.labeling.turns import draw_turns, take_turns
from instructgpt.microworld.gold import Gold
from instructgpt.microworld.labelers import other_labeler
from instructgpt.microworld.world import World
from instructgpt.panel import seat_judges
from instructgpt.storage.judge_calls import FILE_NAME, JudgeCalls
from instructgpt.storage.label_store import LabelStore
from instructgpt.storage.run_dir import RunDir


def run(config: LabelConfig, run: RunDir) -> dict[str, Any]:
    """Sample, rank, store; writes rankings.jsonl, rankings_heldout.jsonl and, with a world,
    rankings_other_labeler.jsonl (the held-out prompts as somebody with another rule sees them).
    """
    gold = None if config.world is None else Gold(World.read(config.world))
    with JudgeCalls(run.path(FILE_NAME)) as calls:
        seats = seat_judges(
            config.judges, gold=gold, seed=config.seed, hardware=config.hardware, calls=calls
        )
        tasks, said = _tasks(config, run.root)
        turns = draw_turns(
            tasks,
            [share for _, share in seats],
            overlap=config.overlap,
            first=config.people is None,
            seed=config.seed,
        )
        given, accounts = take_turns(tasks, turns, [judge for judge, _ in seats])
    given = sorted([*said, *given], key=lambda one: one.task)  # stable: people, then the judges
    _store(run.path("labels.sqlite"), tasks, given)
    heldout_keys = _heldout_keys(config, tasks)
    rankings = _first_rankings(tasks, given)
    if not rankings:
        failures = [f"{a['name']}: {a['failures']}" for a in accounts if a.get("failures")]
        raise DataError(f"no prompt was ranked ({'; '.join(failures) or 'there are none'})")
    train = [r for r in rankings if r.prompt.key not in heldout_keys]
    heldout = [r for r in rankings if r.prompt.key in heldout_keys]
    earlier = [row for path in config.also for row in _earlier(path, heldout_keys)]
    write_jsonl(run.path("rankings.jsonl"), [*earlier, *(r.to_dict() for r in train)])
    write_jsonl(run.path("rankings_heldout.jsonl"), (r.to_dict() for r in heldout))
    if gold is not None:
        _write_other(run, gold, config.seed, [t for t in tasks if t.prompt.key in heldout_keys])
    agreement = agreement_matrix(given)
    return {
        "prompts": len(tasks),
        "completions": sum(len(t.completions) for t in tasks),
        "rankings": len(train),
        "rankings_heldout": len(heldout),
        "rankings_from_earlier_rounds": len(earlier),
        "comparisons": sum(len(r.pairs()) for r in train),
        "ties": sum(r.num_ties() for r in train),
        "unranked": len(tasks) - len(rankings),
        "labeler_agreement": agreement.pop("overall"),
        "judges": accounts,
        "agreement": agreement,
    }


def _tasks(config: LabelConfig, folder: Path) -> tuple[list[Task], list[GivenRanking]]:
    """What to rank, and what people have said of it; `folder` is for temporary files."""
    if config.people is not None:
        return tasks_of_people(config)
    assert config.prompts is not None  # the settings ask for them
    prompts = load_prompts(config.prompts, limit=config.num_prompts).records
    return sample_tasks(config, prompts, config.seed, folder), []


def _store(path: Path, tasks: Sequence[Task], given: Sequence[GivenRanking]) -> None:
    """The label store: who said what, in which order shown, with ratings and flags."""
    for leftover in path.parent.glob(f"{path.name}*"):
        leftover.unlink()  # an interrupted attempt; every label below is made again, identically
    with LabelStore(path) as store, store.transaction():
        ids = [store.add_task(task.prompt.to_dict(), task.signed) for task in tasks]
        for number, one in enumerate(given):
            store.add_labeler(one.judge, kind="person" if one.kind == PEOPLE else one.kind)
            store.submit(
                ids[one.task],
                one.judge,
                one.ranks,
                client_uuid=f"{number}-{one.judge}",
                order=one.order,
                **one.ratings,
            )


def _first_rankings(tasks: Sequence[Task], given: Sequence[GivenRanking]) -> list[Ranking]:
    """One ranking per task, the first that there is: the others measure agreement alone."""
    first: dict[int, GivenRanking] = {}
    for one in given:
        first.setdefault(one.task, one)
    return [
        Ranking(tasks[number].prompt, tasks[number].completions, one.ranks, one.judge)
        for number, one in first.items()
    ]


def _write_other(run: RunDir, gold: Gold, seed: int, tasks: Sequence[Task]) -> None:
    other = other_labeler(gold, seed)
    rankings = (
        Ranking(t.prompt, t.completions, other.rank(t.prompt, t.completions), other.name)
        for t in tasks
    )
    write_jsonl(run.path("rankings_other_labeler.jsonl"), (r.to_dict() for r in rankings))


def _heldout_keys(config: LabelConfig, tasks: Sequence[Task]) -> set[str]:
    """Prompts whose rankings stay out of training: a function of seed and prompt, never of row."""
    keys = sorted({task.prompt.key for task in tasks})
    random.Random(f"{config.seed}:heldout").shuffle(keys)
    return set(keys[: max(1, round(len(keys) * config.heldout_fraction))])


def _earlier(path: str, heldout_keys: set[str]) -> list[dict[str, Any]]:
    """Training rankings of an earlier round, without the prompts that are held out now."""
    rows = [row for _, row in read_jsonl(Path(path) / "rankings.jsonl")]
    return [row for row in rows if Ranking.from_dict(row).prompt.key not in heldout_keys]
