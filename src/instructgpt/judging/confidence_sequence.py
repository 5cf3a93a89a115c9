"""Intervals of a mean that may be looked at after every observation, and acted on at any of them.

An ordinary 95 % interval holds at one moment that was fixed before. Whoever looks after every vote
and stops when it suits will, sooner or later, find the interval beside the truth. Here the chance
that an interval is *ever* beside it is at most `alpha`.

The method is betting (Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables
by betting"; Ville 1939). Somebody who doubts that outcomes in [0, 1] have a mean of at most m
stakes the share f of their capital on every outcome x, which multiplies it by

    1 - f + f x / m

and by at most 1 on average if they are wrong. From a capital of 1 they get beyond 2 / alpha with a
chance of at most alpha / 2, however long they go on. Their f is spread evenly over (0, 1), so that
the capital is a mean over f and depends on the outcomes alone, not on their order. The lower
bound is the largest m that such a gambler has refuted. The upper one mirrors it.

What is assumed: given all that came before, the expectation of the next outcome is the mean. For
the lower bound it is enough that it is never above m: "better than m" is then believed with a
chance of at most alpha / 2, also where the expectation drifts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from instructgpt.judging.intervals import Array, Interval

# Stakes and their weights: Gauss-Legendre on (0, 1), the same as the even spread up to 127
# outcomes and a spread of its own, as valid, beyond.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_STAKES = (1 + _NODES) / 2
_LOG_WEIGHTS = np.log(_WEIGHTS / 2)
_HALVINGS = 30  # bounds to a billionth


def anytime_interval(outcomes: Sequence[float], alpha: float = 0.05) -> Interval:
    """The mean of outcomes in [0, 1] with an interval that holds at any stopping time."""
    return anytime_intervals(outcomes, alpha)[-1]


def anytime_intervals(outcomes: Sequence[float], alpha: float = 0.05) -> list[Interval]:
    """The interval after every outcome, the first of them after one.

    Errors: ValueError without outcomes, and for outcomes outside [0, 1].
    """
    values = np.asarray(outcomes, dtype=np.float64)
    if len(values) == 0:
        raise ValueError("no values: an interval needs at least one")
    if values.min() < 0 or values.max() > 1:
        raise ValueError("outcomes lie in [0, 1]")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha {alpha} is not between 0 and 1")
    low, high = _lower_bounds(values, alpha / 2), 1 - _lower_bounds(1 - values, alpha / 2)
    means = np.cumsum(values) / np.arange(1, len(values) + 1)
    rows = zip(means, low, high, strict=True)
    return [Interval(float(m), float(a), float(b), n) for n, (m, a, b) in enumerate(rows, 1)]


def log_capital(outcomes: Sequence[float], m: float) -> float:
    """Logarithm of what a gambler has who began with 1 and doubts that the mean is at most m."""
    values = np.asarray(outcomes, dtype=np.float64)
    kinds, counts = np.unique(values, return_counts=True)
    return float(_log_capitals(kinds, counts[None, :].astype(np.float64), np.array([m]))[0])


def _lower_bounds(values: Array, error: float) -> Array:
    """After every value, the largest mean that is refuted; found by halving, since the capital
    falls as m grows.
    """
    kinds, places = np.unique(values, return_inverse=True)
    counts = np.cumsum(np.eye(len(kinds))[places], axis=0)  # (values so far, kinds)
    refuted, open_ = np.zeros(len(values)), np.ones(len(values))
    for _ in range(_HALVINGS):
        middle = (refuted + open_) / 2
        beyond = _log_capitals(kinds, counts, middle) >= -math.log(error)
        refuted, open_ = np.where(beyond, middle, refuted), np.where(beyond, open_, middle)
    return refuted


def _log_capitals(kinds: Array, counts: Array, m: Array) -> Array:
    """One log-capital per row of `counts` (how often each of `kinds` came), at its own mean m."""
    gains = np.log1p(_STAKES * (kinds[:, None] / m[:, None, None] - 1))  # (rows, kinds, stakes)
    logs = np.einsum("rk,rks->rs", counts, gains) + _LOG_WEIGHTS
    top = logs.max(axis=1)
    return np.asarray(top + np.log(np.exp(logs - top[:, None]).sum(axis=1)))
