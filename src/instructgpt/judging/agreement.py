"""How far labelers agree: with each other, with themselves, with a rule.

Rankings are ranks per item, 1 = best, equal = tie, as in `data.records.Ranking`. The paper reports
pairwise agreement (section 3.4); the others correct it for chance or for ties.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from instructgpt.judging.intervals import Array, Interval, proportion_interval

RankingPair = tuple[Sequence[int], Sequence[int]]
"""Ranks of the same items by two labelers."""


@dataclass(frozen=True, slots=True)
class PairwiseAgreement:
    """Share of item pairs that two labelers order alike, clustered by prompt.

    `interval` is None when no pair could be counted. `num_pairs` were counted; `num_ties` of all
    pairs were tied for at least one labeler.
    """

    interval: Interval | None
    num_pairs: int
    num_ties: int


def pairwise_agreement(
    rankings: Sequence[RankingPair],
    ties: Literal["drop", "match"] = "drop",
    clusters: Sequence[Hashable] | None = None,
) -> PairwiseAgreement:
    """Agreement over all item pairs of all `rankings`, each of one prompt.

    ties = "drop": pairs that either labeler left tied are not counted (the paper's comparisons
    drop ties). "match": a tie is a third answer; it agrees with a tie and with nothing else.
    `clusters` names the prompt of each ranking when several rankings share one.
    """
    agreed: list[float] = []
    names: list[Hashable] = []
    num_ties = 0
    labels = range(len(rankings)) if clusters is None else clusters
    for (first, second), name in zip(rankings, labels, strict=True):
        for i, j in _pairs(first, second):
            a, b = _order(first, i, j), _order(second, i, j)
            tied = a == 0 or b == 0
            num_ties += tied
            if ties == "match" or not tied:
                agreed.append(float(a == b))
                names.append(name)
    interval = proportion_interval(agreed, names) if agreed else None
    return PairwiseAgreement(interval, len(agreed), num_ties)


def kendall_tau_b(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Kendall's tau-b of two rankings of the same items, in [-1, 1]; corrected for ties.

    None when either ranking ties everything: there is no order to correlate.
    """
    pairs = _pairs(first, second)
    orders = [(_order(first, i, j), _order(second, i, j)) for i, j in pairs]
    untied_first = sum(a != 0 for a, _ in orders)
    untied_second = sum(b != 0 for _, b in orders)
    if untied_first == 0 or untied_second == 0:
        return None
    return sum(a * b for a, b in orders) / math.sqrt(untied_first * untied_second)


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """Cohen's kappa of two labelers' categories: agreement beyond chance, 1 at most.

    None when both used one and the same category throughout: chance agreement is then 1.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"two labelers, same items: got {len(first)} and {len(second)} labels")
    n = len(first)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    chance = sum(first.count(c) * second.count(c) for c in {*first, *second}) / (n * n)
    return None if chance == 1.0 else (observed - chance) / (1 - chance)


def fleiss_kappa(items: Sequence[Sequence[int]]) -> float | None:
    """Fleiss' kappa: agreement beyond chance of the categories (numbers) that items were given.

    Items may have different numbers of ratings; those with fewer than two say nothing. None when
    there are no others, or all used one category. Source: Fleiss 1971.
    """
    return fleiss_kappa_of(fleiss_sums(items, sorted({c for item in items for c in item})))


def fleiss_sums(items: Sequence[Sequence[int]], categories: Sequence[int]) -> Array:
    """What `fleiss_kappa` needs to know of items: their number, the sum of their shares of pairs
    of ratings that are alike, and how often each of `categories` was given. Sums of parts add up.
    """
    rated = [item for item in items if len(item) >= 2]
    counts = np.array([[item.count(c) for c in categories] for item in rated], dtype=np.float64)
    counts = counts.reshape(len(rated), len(categories))
    n = counts.sum(axis=1)
    alike = (counts * (counts - 1)).sum(axis=1) / (n * (n - 1))
    return np.concatenate([[len(rated), alike.sum()], counts.sum(axis=0)])


def fleiss_kappa_of(sums: Array) -> float | None:
    """`fleiss_kappa` from `fleiss_sums`."""
    given = sums[2:].sum()
    if given == 0 or sums[2:].max() == given:
        return None
    chance = ((sums[2:] / given) ** 2).sum()
    return float((sums[1] / sums[0] - chance) / (1 - chance))


def krippendorff_alpha(ratings: Sequence[Sequence[float | None]]) -> float | None:
    """Krippendorff's alpha of ordinal ratings: one row per labeler, one column per item.

    None in a row: not rated. 1 is perfect, 0 is chance. Returns None when no item has two ratings,
    or all ratings are the same value. Source: Krippendorff 2011, "Computing Krippendorff's
    Alpha-Reliability".
    """
    columns = [[r for r in column if r is not None] for column in zip(*ratings, strict=True)]
    categories = sorted({rating for column in columns for rating in column})
    return krippendorff_alpha_of(coincidences(columns, categories))


def coincidences(items: Sequence[Sequence[float]], categories: Sequence[float]) -> Array:
    """Pairs of values within items, each item weighing as many pairs as it has ratings; those with
    fewer than two weigh nothing. Square over `categories`, which ascend. Sums of parts add up.
    """
    index = {category: i for i, category in enumerate(categories)}
    matrix = np.zeros((len(categories), len(categories)))
    for item in items:
        if len(item) >= 2:
            counts = np.bincount([index[r] for r in item], minlength=len(categories)).astype(float)
            matrix += (np.outer(counts, counts) - np.diag(counts)) / (len(item) - 1)
    return matrix


def krippendorff_alpha_of(coincidences: Array) -> float | None:
    """`krippendorff_alpha` from `coincidences`."""
    totals = coincidences.sum(axis=1)
    if (totals > 0).sum() < 2:
        return None
    distances = _ordinal_distances(totals)
    expected = (np.outer(totals, totals) - np.diag(totals)) / (totals.sum() - 1)
    return float(1 - (coincidences * distances).sum() / (expected * distances).sum())


def _ordinal_distances(totals: Array) -> Array:
    """Squared ordinal distance of two categories: the ratings between them, ends counted half."""
    cumulated = np.cumsum(totals) - totals / 2
    distances: Array = (cumulated[:, None] - cumulated[None, :]) ** 2
    return distances


def _pairs(first: Sequence[float], second: Sequence[float]) -> list[tuple[int, int]]:
    if len(first) != len(second):
        raise ValueError(f"two rankings of the same items: got {len(first)} and {len(second)}")
    return list(combinations(range(len(first)), 2))


def _order(ranks: Sequence[float], i: int, j: int) -> int:
    """1 when item i is ranked better than item j, -1 when worse, 0 when tied."""
    return (ranks[j] > ranks[i]) - (ranks[j] < ranks[i])
