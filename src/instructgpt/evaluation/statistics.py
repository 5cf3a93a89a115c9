"""Intervals that need resampling or pairing; plain ones are in `judging.intervals`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from instructgpt.judging.intervals import Array, Interval, mean_interval

Statistic = Callable[[Array], float]


def bootstrap_interval(
    values: Sequence[float],
    statistic: Statistic,
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Percentile bootstrap (Efron 1979) of any statistic of a sample, by whole clusters.

    For statistics without a simple formula, such as medians and quantiles. The same `seed` gives
    the same interval.
    """
    sample = np.asarray(values, dtype=np.float64)
    groups = _groups(values, clusters)
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(groups), size=(resamples, len(groups)))
    if clusters is None:
        estimates = [statistic(sample[row]) for row in draws]
    else:
        estimates = [statistic(sample[np.concatenate([groups[i] for i in row])]) for row in draws]
    tail = (1 - confidence) / 2
    low, high = np.quantile(estimates, [tail, 1 - tail])
    return Interval(statistic(sample), float(low), float(high), len(groups))


def paired_difference(
    first: Sequence[float],
    second: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Mean of first - second over the same items; pairing removes what makes items hard or easy."""
    differences = [a - b for a, b in zip(first, second, strict=True)]
    return mean_interval(differences, clusters, confidence)


def _groups(values: Sequence[float], clusters: Sequence[Hashable] | None) -> list[list[int]]:
    """Places of the values of each cluster."""
    if len(values) == 0:
        raise ValueError("no values: an interval needs at least one")
    names = range(len(values)) if clusters is None else clusters
    if len(names) != len(values):
        raise ValueError(f"{len(values)} values but {len(names)} cluster names")
    members: dict[Hashable, list[int]] = {}
    for place, name in enumerate(names):
        members.setdefault(name, []).append(place)
    return list(members.values())
