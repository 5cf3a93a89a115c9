"""Showing completions so that their places cannot decide, and measuring how far they would have.

A judge whose verdict may depend on the order sees every task in one order and in the reverse: each
pair is then seen once with either completion first. The two rankings are averaged, place by place;
what they put on the same average place is tied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from instructgpt.judging.intervals import proportion_interval
from instructgpt.judging.protocol import Judge, Look, Ranks
from instructgpt.judging.scores import ranks_of_scores

Order = tuple[int, ...]
"""The index of the completion shown first, then second, ..."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict on one task. `ranks` are in the task's own order, None when there is no verdict.

    Of judges that saw both orders: `alike` says for every pair whether both orders gave the same
    answer, `first_won` for every answer that is no tie whether the one shown first was preferred.
    """

    ranks: tuple[int, ...] | None
    order: Order
    alike: tuple[bool, ...] = ()
    first_won: tuple[bool, ...] = ()


def judge_tasks(
    judge: Judge,
    tasks: Sequence[Look],
    orders: Sequence[Order],
    advance: Callable[[], object] = lambda: None,
) -> list[Judged]:
    """A verdict on every task, shown in `orders[i]`, and reversed where order matters.

    Both orders must give a ranking, or there is no verdict. `advance` is called once per task.
    """
    shown = [(order, order[::-1]) if judge.order_matters else (order,) for order in orders]
    places = [(task, turn) for task, own in enumerate(shown) for turn in range(len(own))]
    looks = [_look(tasks[task], shown[task][turn]) for task, turn in places]
    seen: list[list[Ranks | None]] = [[None] * len(own) for own in shown]
    left = [len(own) for own in shown]
    for index, ranks in judge.rank_all(looks):
        task, turn = places[index]
        seen[task][turn] = ranks
        left[task] -= 1
        if not left[task]:
            advance()
    return [_judged(own, found) for own, found in zip(shown, seen, strict=True)]


def position_bias(judged: Sequence[Judged], clusters: Sequence[str]) -> dict[str, Any] | None:
    """How far places swayed a judge that saw both orders; None for one that did not.

    order_consistency: share of pairs that both orders decided alike. first_shown_wins: share of
    answers that are no tie in which the one shown first was preferred, 0.5 without bias. Intervals
    are clustered by `clusters`, the prompts of the tasks.
    """
    alike = [(ok, c) for j, c in zip(judged, clusters, strict=True) for ok in j.alike]
    first = [(won, c) for j, c in zip(judged, clusters, strict=True) for won in j.first_won]
    if not alike:
        return None
    found: dict[str, Any] = {}
    for name, values in (("order_consistency", alike), ("first_shown_wins", first)):
        found[name] = None
        if values:
            interval = proportion_interval([float(v) for v, _ in values], [c for _, c in values])
            found[name] = {**interval.to_dict(), "pairs": len(values)}
    return found


def _look(task: Look, order: Order) -> Look:
    return Look(task.prompt, tuple(task.completions[i] for i in order))


def _judged(orders: Sequence[Order], seen: Sequence[Ranks | None]) -> Judged:
    placed = [
        dict(zip(order, ranks, strict=True))
        for order, ranks in zip(orders, seen, strict=True)
        if ranks is not None
    ]
    if len(placed) < len(orders):
        return Judged(None, orders[0])
    indices = sorted(orders[0])
    if len(placed) == 1:
        return Judged(tuple(placed[0][i] for i in indices), orders[0])
    pairs = list(combinations(indices, 2))
    first_won = [
        ranks[a] < ranks[b]
        for order, ranks in zip(orders, placed, strict=True)
        for a, b in combinations(order, 2)  # a was shown before b
        if ranks[a] != ranks[b]
    ]
    alike = [len({_sign(ranks, i, j) for ranks in placed}) == 1 for i, j in pairs]
    mean = [-sum(_place(ranks, i) for ranks in placed) for i in indices]
    return Judged(ranks_of_scores(mean), orders[0], tuple(alike), tuple(first_won))


def _sign(ranks: dict[int, int], i: int, j: int) -> int:
    return (ranks[j] > ranks[i]) - (ranks[j] < ranks[i])


def _place(ranks: dict[int, int], i: int) -> float:
    """Twice the place, the average one for ties: exact in floating point."""
    better = sum(other < ranks[i] for other in ranks.values())
    equal = sum(other == ranks[i] for other in ranks.values())
    return 2 * better + equal
