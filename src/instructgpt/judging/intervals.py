"""Numbers with intervals: proportions and means, clustered where observations share a prompt.

Two completions of one prompt succeed or fail together, so counting them as independent makes
intervals too short. Everything here resamples or sums by cluster (the prompt) instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate, its confidence interval, and how many clusters (prompts) stand behind it."""

    value: float
    low: float
    high: float
    n: int

    def to_dict(self) -> dict[str, float | int | None]:
        """JSON form; an infinite bound (one observation) is None, which JSON can say."""
        return {
            "value": self.value,
            "low": self.low if math.isfinite(self.low) else None,
            "high": self.high if math.isfinite(self.high) else None,
            "n": self.n,
        }


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a plain proportion of independent trials (Wilson 1927)."""
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes} successes of {n} trials is no proportion")
    z2 = normal_quantile(confidence) ** 2
    p = successes / n
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Interval(p, low, high, n)


def proportion_interval(
    values: Sequence[float], clusters: Sequence[Hashable] | None = None, confidence: float = 0.95
) -> Interval:
    """Mean of outcomes in [0, 1] (ties are 0.5) with an interval clustered by `clusters`.

    The cluster-robust form of Agresti and Coull's interval: z^2/2 imagined clusters of only wins
    and as many of only losses join the data, so that 0 of 20 or 20 ties of 20 still has a width.
    Without `clusters` every outcome is its own; then, for outcomes 0 and 1, it is Agresti-Coull.
    """
    totals, sizes = _cluster_sums(values, clusters)
    if min(values) < 0 or max(values) > 1:
        raise ValueError("outcomes of a proportion lie in [0, 1]")
    z = normal_quantile(confidence)
    size = sizes.mean()
    totals_with = np.concatenate([totals, [size, 0.0]])
    sizes_with = np.concatenate([sizes, [size, size]])
    weights = np.concatenate([np.ones(len(totals)), [z * z / 2, z * z / 2]])
    centre = float((weights * totals_with).sum() / (weights * sizes_with).sum())
    half = z * _ratio_error(totals_with, sizes_with, weights, centre)
    value = float(totals.sum() / sizes.sum())
    return Interval(value, max(0.0, centre - half), min(1.0, centre + half), len(totals))


def mean_interval(
    values: Sequence[float], clusters: Sequence[Hashable] | None = None, confidence: float = 0.95
) -> Interval:
    """Mean of unbounded values (scores, lengths, KL) with a normal interval clustered by prompt.

    One cluster alone says nothing of its spread: the interval is then infinite.
    """
    totals, sizes = _cluster_sums(values, clusters)
    value = float(totals.sum() / sizes.sum())
    if len(totals) == 1:
        return Interval(value, -math.inf, math.inf, 1)
    correction = len(totals) / (len(totals) - 1)
    error = _ratio_error(totals, sizes, np.ones(len(totals)), value) * math.sqrt(correction)
    half = normal_quantile(confidence) * error
    return Interval(value, value - half, value + half, len(totals))


def resampled_interval(
    sums: Sequence[Array],
    statistic: Callable[[Array], float | None],
    *,
    seed: int = 0,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> Interval | None:
    """Percentile bootstrap (Efron 1979) over whole prompts, for kappa and alpha, whose errors have
    no simple formula. `sums[i]` is what prompt i adds to the sums that `statistic` is made of.

    None when the statistic of all is; resamples for which it is undefined are left out. One
    prompt alone says nothing of the spread: the interval is then infinite.
    """
    if len(sums) == 0:
        return None
    parts = np.stack(sums)
    value = statistic(parts.sum(axis=0))
    if value is None:
        return None
    n = len(parts)
    if n == 1:
        return Interval(value, -math.inf, math.inf, 1)
    rng = np.random.default_rng(seed)
    times = (rng.multinomial(n, np.full(n, 1 / n)) for _ in range(resamples))
    found = [statistic(np.tensordot(drawn, parts, axes=1)) for drawn in times]
    estimates = [estimate for estimate in found if estimate is not None] or [value]
    tail = (1 - confidence) / 2
    low, high = np.quantile(estimates, [tail, 1 - tail])
    return Interval(value, float(low), float(high), n)


def normal_quantile(confidence: float) -> float:
    """z with `confidence` of a standard normal within +-z; 1.96 for 0.95."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not between 0 and 1")
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def _cluster_sums(
    values: Sequence[float], clusters: Sequence[Hashable] | None
) -> tuple[Array, Array]:
    """Sum and number of values of each cluster, in order of first appearance."""
    if len(values) == 0:
        raise ValueError("no values: an interval needs at least one")
    names = range(len(values)) if clusters is None else clusters
    if len(names) != len(values):
        raise ValueError(f"{len(values)} values but {len(names)} cluster names")
    order: dict[Hashable, int] = {}
    index = [order.setdefault(name, len(order)) for name in names]
    totals = np.bincount(index, weights=np.asarray(values, dtype=np.float64)).astype(np.float64)
    return totals, np.bincount(index).astype(np.float64)


def _ratio_error(totals: Array, sizes: Array, weights: Array, ratio: float) -> float:
    """Standard error of sum(totals) / sum(sizes) by linearisation around `ratio`."""
    residuals = totals - ratio * sizes
    return math.sqrt(float((weights * residuals**2).sum())) / float((weights * sizes).sum())
