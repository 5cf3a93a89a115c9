"""Intervals that may be looked at after every vote: by hand, and by brute force over many lives."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from instructgpt.judging.confidence_sequence import (
    anytime_interval,
    anytime_intervals,
    log_capital,
)
from instructgpt.judging.intervals import proportion_interval

VOTES, LIVES, ALPHA = 150, 300, 0.1


def lives(probabilities: tuple[float, float, float], seed: int) -> np.ndarray:
    """LIVES x VOTES outcomes: loss, tie and win with these probabilities."""
    rng = np.random.default_rng(seed)
    return rng.choice([0.0, 0.5, 1.0], size=(LIVES, VOTES), p=probabilities)


@pytest.mark.parametrize(
    ("outcomes", "m", "capital"),
    [
        # integrals over f in (0, 1), by hand; a win at m = 1/2 pays 1 + f, a loss 1 - f, a tie 1
        ([1.0], 0.5, Fraction(3, 2)),
        ([1.0, 1.0], 0.5, Fraction(7, 3)),
        ([1.0, 0.0], 0.5, Fraction(2, 3)),
        ([0.0, 1.0], 0.5, Fraction(2, 3)),
        ([0.5], 0.5, Fraction(1)),
        ([0.0], 0.5, Fraction(1, 2)),
        # at m = 1/4 a win pays 1 + 3f and a tie 1 + f: the mean of (1 + 3f)(1 + f) is 1 + 2 + 1
        ([1.0, 0.5], 0.25, Fraction(4)),
    ],
)
def test_the_first_bets_by_hand(outcomes, m, capital) -> None:
    assert math.exp(log_capital(outcomes, m)) == pytest.approx(float(capital), abs=1e-12)


def test_the_bound_after_wins_alone_by_hand() -> None:
    """After one win the capital is 1 + (1/m - 1)/2, which is 40 at m = 1/79."""
    found = anytime_interval([1.0], alpha=0.05)
    assert found.low == pytest.approx(1 / 79, abs=1e-9)
    assert (found.value, found.high, found.n) == (1.0, 1.0, 1)
    mirrored = anytime_interval([0.0], alpha=0.05)
    assert mirrored.high == pytest.approx(1 - 1 / 79, abs=1e-9)
    assert mirrored.low == pytest.approx(0.0, abs=1e-9)


def test_the_order_of_votes_does_not_matter_and_each_is_looked_at() -> None:
    votes = [1.0, 0.0, 0.5, 1.0, 1.0, 0.25]
    path = anytime_intervals(votes)
    assert [one.n for one in path] == [1, 2, 3, 4, 5, 6]
    assert path[-1] == anytime_interval(votes)
    backwards = anytime_interval(votes[::-1])
    assert (backwards.low, backwards.high) == pytest.approx((path[-1].low, path[-1].high))
    for n, one in enumerate(path, 1):
        assert one.value == pytest.approx(sum(votes[:n]) / n)
        # just refuted below the bound, and not above it
        assert log_capital(votes[:n], one.low - 1e-6) >= math.log(40) or one.low < 1e-5
        assert log_capital(votes[:n], one.low + 1e-6) < math.log(40)


@pytest.mark.parametrize("chances", [(0.5, 0.0, 0.5), (0.3, 0.4, 0.3), (0.2, 0.6, 0.2)])
def test_looking_after_every_vote_between_equals_rarely_finds_a_difference(chances) -> None:
    """An ordinary interval of the same level finds one far more often than it says."""
    found = ordinary = 0
    for votes in lives(chances, seed=1):
        found += any(one.low > 0.5 or one.high < 0.5 for one in anytime_intervals(votes, ALPHA))
        looks = [proportion_interval(votes[:n], confidence=1 - ALPHA) for n in range(5, VOTES, 5)]
        ordinary += any(one.low > 0.5 or one.high < 0.5 for one in looks)
    assert found / LIVES <= ALPHA
    assert ordinary / LIVES > 2 * ALPHA


@pytest.mark.parametrize("chances", [(0.2, 0.2, 0.6), (0.7, 0.0, 0.3), (0.02, 0.03, 0.95)])
def test_the_mean_is_inside_at_all_times(chances) -> None:
    mean = 0.5 * chances[1] + chances[2]
    missed = sum(
        any(not one.low <= mean <= one.high for one in anytime_intervals(votes, ALPHA))
        for votes in lives(chances, seed=2)
    )
    assert missed / LIVES <= ALPHA


def test_votes_whose_chances_drift_below_a_half_promote_nobody() -> None:
    """The lower bound needs no constant mean: every next vote is at best fair."""
    rng = np.random.default_rng(3)
    promoted = 0
    for _ in range(LIVES):
        votes, run = [], 0.0
        for _ in range(VOTES):
            # whoever is ahead gets fair votes, whoever is behind bad ones
            run += (vote := float(rng.random() < (0.5 if run >= 0 else 0.3))) - 0.5
            votes.append(vote)
        promoted += any(one.low > 0.5 for one in anytime_intervals(votes, ALPHA))
    assert promoted / LIVES <= ALPHA / 2 + 0.02


def test_a_real_difference_is_found() -> None:
    """At 65 % wins of 400 votes nearly always, and at half as many most of the time."""
    rng = np.random.default_rng(4)
    when = []
    for _ in range(100):
        path = anytime_intervals((rng.random(400) < 0.65).astype(float), 0.05)
        when.append(next((one.n for one in path if one.low > 0.5), 401))
    assert np.mean(np.array(when) <= 400) > 0.97
    assert np.median(when) < 200


@pytest.mark.parametrize(("outcomes", "alpha"), [([], 0.05), ([1.2], 0.05), ([-0.1], 0.05),
                                                 ([1.0], 0.0), ([1.0], 1.0)])  # fmt: skip
def test_what_is_no_outcome_is_refused(outcomes, alpha) -> None:
    with pytest.raises(ValueError):
        anytime_interval(outcomes, alpha)
