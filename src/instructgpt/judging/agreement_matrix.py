"""Who agrees with whom: pairwise agreement of every two judges, and of every two kinds of judge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from instructgpt.judging.agreement import pairwise_agreement


@dataclass(frozen=True, slots=True)
class GivenRanking:
    """Ranks that a judge gave to the completions of one task, in the task's own order.

    `cluster` is the prompt, for intervals. `order` is that of showing, where it is known; `ratings`
    holds Likert scores and flags as the label store takes them.
    """

    task: int
    judge: str
    kind: str
    ranks: tuple[int, ...]
    cluster: Hashable
    order: tuple[int, ...] | None = None
    ratings: Mapping[str, Any] = field(default_factory=dict)


def agreement_matrix(rankings: Sequence[GivenRanking]) -> dict[str, Any]:
    """`judges`: one entry per two judges who share a task; `kinds`: the same for their kinds.

    `overall` is of every two judges together, and None when no pair could be compared. An entry
    has the share of pairs that both order and order alike (`value`, `low`, `high`, `n` prompts),
    the number of those `pairs`, and of pairs that either tied (`ties`); and whose it is, `a`, `b`.
    """
    shared = list(_shared(rankings))
    overall = _numbers(shared)
    return {
        "overall": None if overall["value"] is None else overall,
        "judges": _entries(shared, lambda ranking: ranking.judge),
        "kinds": _entries(shared, lambda ranking: ranking.kind),
    }


Shared = tuple[GivenRanking, GivenRanking]


def _shared(rankings: Iterable[GivenRanking]) -> Iterator[Shared]:
    """Every two rankings of one task by different judges."""
    by_task: dict[int, list[GivenRanking]] = defaultdict(list)
    for ranking in rankings:
        by_task[ranking.task].append(ranking)
    for own in by_task.values():
        yield from ((a, b) for a, b in combinations(own, 2) if a.judge != b.judge)


def _entries(shared: Sequence[Shared], name: Callable[[GivenRanking], str]) -> list[dict[str, Any]]:
    grouped: dict[tuple[str, ...], list[Shared]] = defaultdict(list)
    for a, b in shared:
        grouped[tuple(sorted((name(a), name(b))))].append((a, b))
    return [{"a": a, "b": b, **_numbers(found)} for (a, b), found in sorted(grouped.items())]


def _numbers(shared: Sequence[Shared]) -> dict[str, Any]:
    found = pairwise_agreement(
        [(a.ranks, b.ranks) for a, b in shared], clusters=[a.cluster for a, _ in shared]
    )
    empty = {"value": None, "low": None, "high": None, "n": 0}
    numbers = empty if found.interval is None else found.interval.to_dict()
    return {**numbers, "pairs": found.num_pairs, "ties": found.num_ties}
