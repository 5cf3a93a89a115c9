"""How far the labelers of a store agree: together, one by one, task by task."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, NamedTuple

from instructgpt.judging.agreement import (
    PairwiseAgreement,
    cohen_kappa,
    coincidences,
    fleiss_kappa_of,
    fleiss_sums,
    kendall_tau_b,
    krippendorff_alpha_of,
    pairwise_agreement,
)
from instructgpt.judging.intervals import Array, Interval, mean_interval, resampled_interval
from instructgpt.storage.annotation import LIKERT

Row = Mapping[str, Any]
"""A ranking's JSON form, as `LabelStore.rankings` gives it."""


class Double(NamedTuple):
    """Two labelers' rankings of one task."""

    task: int
    first: Row
    second: Row

    @property
    def tau(self) -> float | None:
        return kendall_tau_b(self.first["ranks"], self.second["ranks"])


@dataclass(frozen=True, slots=True)
class Agreement:
    """Over all tasks that several labelers ranked. None where there is nothing to measure.

    `fleiss` is of the orders of pairs (better, worse, tied), `alpha` Krippendorff's of the 1-7
    ratings, `tau` the mean of Kendall's tau-b; intervals treat a task as one observation.
    """

    tasks: int
    pairwise: PairwiseAgreement
    pairwise_with_ties: PairwiseAgreement
    tau: Interval | None
    fleiss: Interval | None
    alpha: Interval | None


@dataclass(frozen=True, slots=True)
class LabelerNumbers:
    """One labeler: rankings, median seconds, share of tied pairs; agreement with the others over
    pairs that neither tied, and the mean of Kendall's tau-b.
    """

    rankings: int
    seconds: float | None
    ties: float | None
    pairwise: Interval | None
    tau: Interval | None


@dataclass(frozen=True, slots=True)
class TaskNumbers:
    """One task that several labelers ranked: how many, the share of pairs that two of them order
    alike, and the lowest tau-b between two of them. One task has no interval: its pairs depend
    on each other.
    """

    labelers: int
    pairwise: float | None
    lowest_tau: float | None

    @property
    def is_conflict(self) -> bool:
        """Whether two labelers disagree at least as much as they agree."""
        return self.lowest_tau is not None and self.lowest_tau <= 0


def agreement(rows: Sequence[Row]) -> Agreement:
    """All statistics of agreement among `rows`."""
    groups = list(_shared(rows).values())
    doubles = _doubles(rows)
    return Agreement(
        tasks=len(groups),
        pairwise=_pairwise(doubles),
        pairwise_with_ties=_pairwise(doubles, "match"),
        tau=_mean_tau(doubles),
        fleiss=resampled_interval([_fleiss_sums(group) for group in groups], fleiss_kappa_of),
        alpha=resampled_interval([_coincidences(g) for g in groups], krippendorff_alpha_of),
    )


def of_labelers(rows: Sequence[Row]) -> dict[str, LabelerNumbers]:
    """Numbers of every labeler who ranked something."""
    own, shared = defaultdict(list), defaultdict(list)
    for row in rows:
        own[row["labeler"]].append(row)
    for double in _doubles(rows):
        for row in (double.first, double.second):
            shared[row["labeler"]].append(double)
    return {name: _labeler(own[name], shared[name]) for name in own}


def of_tasks(rows: Sequence[Row]) -> dict[int, TaskNumbers]:
    """Numbers of every task that several labelers ranked."""
    by_task = defaultdict(list)
    for double in _doubles(rows):
        by_task[double.task].append(double)
    sizes = {task: len(ranked) for task, ranked in _shared(rows).items()}
    return {task: _task(sizes[task], doubles) for task, doubles in by_task.items()}


def kappa_of_pairs(rows: Sequence[Row]) -> dict[tuple[str, str], float | None]:
    """Cohen's kappa of the orders of pairs, for every two labelers who share a task."""
    orders: dict[tuple[str, str], tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for _, a, b in _doubles(rows):
        a, b = sorted((a, b), key=lambda row: str(row["labeler"]))
        first, second = orders[a["labeler"], b["labeler"]]
        first += pair_orders(a["ranks"])
        second += pair_orders(b["ranks"])
    return {names: cohen_kappa(*both) for names, both in orders.items()}


def pair_orders(ranks: Sequence[int]) -> list[int]:
    """For every pair of completions: 1 if the first is better, -1 if worse, 0 if tied."""
    return [(b > a) - (b < a) for a, b in combinations(ranks, 2)]


def _shared(rows: Sequence[Row]) -> dict[int, list[Row]]:
    """The rankings of every task that has at least two, by task."""
    by_task: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        by_task[row["meta"]["task"]].append(row)
    return {task: ranked for task, ranked in by_task.items() if len(ranked) > 1}


def _doubles(rows: Sequence[Row]) -> list[Double]:
    return [
        Double(task, a, b)
        for task, ranked in _shared(rows).items()
        for a, b in combinations(ranked, 2)
    ]


def _labeler(rows: Sequence[Row], doubles: Sequence[Double]) -> LabelerNumbers:
    seconds = [row["meta"]["seconds"] for row in rows if row["meta"]["seconds"] is not None]
    orders = [order for row in rows for order in pair_orders(row["ranks"])]
    return LabelerNumbers(
        rankings=len(rows),
        seconds=statistics.median(seconds) if seconds else None,
        ties=orders.count(0) / len(orders) if orders else None,
        pairwise=_pairwise(doubles).interval,
        tau=_mean_tau(doubles),
    )


def _task(labelers: int, doubles: Sequence[Double]) -> TaskNumbers:
    taus = [double.tau for double in doubles]
    pairwise = _pairwise(doubles).interval
    return TaskNumbers(
        labelers=labelers,
        pairwise=None if pairwise is None else pairwise.value,
        lowest_tau=min((tau for tau in taus if tau is not None), default=None),
    )


def _pairwise(doubles: Sequence[Double], ties: Any = "drop") -> PairwiseAgreement:
    pairs = [(double.first["ranks"], double.second["ranks"]) for double in doubles]
    return pairwise_agreement(pairs, ties, [double.task for double in doubles])


def _mean_tau(doubles: Sequence[Double]) -> Interval | None:
    known = [(double.task, tau) for double in doubles if (tau := double.tau) is not None]
    if not known:
        return None
    found = mean_interval([tau for _, tau in known], [task for task, _ in known])
    return replace(found, low=max(-1.0, found.low), high=min(1.0, found.high))


def _fleiss_sums(ranked: Sequence[Row]) -> Array:
    orders = zip(*(pair_orders(row["ranks"]) for row in ranked), strict=True)
    return fleiss_sums(list(orders), (-1, 0, 1))


def _coincidences(ranked: Sequence[Row]) -> Array:
    rated = [row["meta"]["ratings"] for row in ranked if row["meta"]["ratings"]]
    items = [[r for r in item if r is not None] for item in zip(*rated, strict=True)]
    return coincidences(items, LIKERT)
