"""Who ranks which task, in which order the completions are shown, and what comes of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from instructgpt.judging.agreement_matrix import GivenRanking
from instructgpt.judging.balance import Order, judge_tasks, position_bias
from instructgpt.judging.protocol import Judge
from instructgpt.labeling.tasks import Task
from instructgpt.progress import progress


@dataclass(frozen=True, slots=True)
class Turn:
    """A judge's turn at a task: number of the task, place of the judge, order of showing."""

    task: int
    judge: int
    order: Order


def draw_turns(
    tasks: Sequence[Task], shares: Sequence[int], *, overlap: float, first: bool, seed: int
) -> list[Turn]:
    """One judge per task, by share, if `first`; for the share `overlap` of tasks one more.

    `shares[i]` is how often judge i is drawn beside the others.
    """
    rng = random.Random(f"{seed}:assign")
    turns = []
    for number, task in enumerate(tasks):
        chosen = _two_judges(rng, shares)
        wanted = first + (rng.random() < overlap)
        for judge in chosen[:wanted]:
            order = list(range(len(task.completions)))
            rng.shuffle(order)
            turns.append(Turn(number, judge, tuple(order)))
    return turns


def take_turns(
    tasks: Sequence[Task], turns: Sequence[Turn], judges: Sequence[Judge]
) -> tuple[list[GivenRanking], list[dict[str, Any]]]:
    """The rankings that came of the turns, in their order, and one account per judge.

    An account has `name`, `kind`, `asked` tasks, those on which the judge `abstained`, what it
    reports itself (tokens, cost, failures), and its position bias where it saw both orders.
    """
    given: dict[int, GivenRanking] = {}
    accounts = []
    with progress("label", len(turns), unit="ranking") as bar:
        for place, judge in enumerate(judges):
            own = [number for number, turn in enumerate(turns) if turn.judge == place]
            asked = [tasks[turns[number].task] for number in own]
            judged = judge_tasks(
                judge,
                [task.look for task in asked],
                [turns[number].order for number in own],
                lambda: bar.advance(1),
            )
            for number, task, verdict in zip(own, asked, judged, strict=True):
                if verdict.ranks is not None:
                    given[number] = GivenRanking(
                        turns[number].task,
                        judge.name,
                        judge.kind,
                        verdict.ranks,
                        task.prompt.key,
                        verdict.order,
                        _ratings(judge, task),
                    )
            bias = position_bias(judged, [task.prompt.key for task in asked])
            counts = {"asked": len(own), "abstained": sum(v.ranks is None for v in judged)}
            account = {"name": judge.name, "kind": judge.kind, **counts, **judge.account()}
            accounts.append({**account, **(bias or {})})
    return [given[number] for number in sorted(given)], accounts


def _two_judges(rng: random.Random, shares: Sequence[int]) -> list[int]:
    """Two different judges, by share; the only one where there is one."""
    if len(shares) == 1:
        return [0]
    places = range(len(shares))
    first, second = rng.sample(places, 2, counts=shares)
    while second == first:
        (second,) = rng.sample(places, 1, counts=shares)
    return [first, second]


def _ratings(judge: Judge, task: Task) -> dict[str, Any]:
    """Likert scores and flags of every completion, of a judge that gives them."""
    ratings = [r for text in task.completions if (r := judge.rate(task.prompt, text)) is not None]
    if len(ratings) < len(task.completions):
        return {}
    names = dict.fromkeys(name for rating in ratings for name in rating.flags)
    flags = {name: [rating.flags.get(name) for rating in ratings] for name in names}
    return {"ratings": [rating.likert for rating in ratings], "flags": flags}
