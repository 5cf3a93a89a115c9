"""Intervals: hand-worked values, and coverage by simulation, also where observations cluster."""

from __future__ import annotations

import math

import numpy as np
import pytest

from instructgpt.judging.intervals import (
    Interval,
    mean_interval,
    normal_quantile,
    proportion_interval,
    resampled_interval,
    wilson_interval,
)


def test_wilson_equals_published_values():
    """Newcombe 1998, table I, method 3: 81/263 and 15/148 at 95 %."""
    found = wilson_interval(81, 263)
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)
    found = wilson_interval(15, 148)
    assert (round(found.low, 4), round(found.high, 4)) == (0.0624, 0.1605)
    found = wilson_interval(0, 20)
    assert (found.low, round(found.high, 4)) == (0.0, 0.1611)
    assert wilson_interval(29, 29).high == 1.0


def test_wilson_equals_scipy():
    stats = pytest.importorskip("scipy.stats", reason="scipy is an independent oracle")
    for successes, n in ((3, 7), (50, 100), (1, 400)):
        expected = stats.binomtest(successes, n).proportion_ci(0.9, method="wilson")
        found = wilson_interval(successes, n, confidence=0.9)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_unclustered_zero_one_outcomes_give_agresti_coull():
    """Hand-worked from Agresti and Coull 1998: 40 wins of 50: p~ = 41.9207 / 53.8415."""
    found = proportion_interval([1.0] * 40 + [0.0] * 10)
    centre = 41.92073 / 53.84146
    half = 1.959964 * math.sqrt(centre * (1 - centre) / 53.84146)
    assert found.value == 0.8
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=1e-6)


def test_normal_interval_of_the_papers_example():
    """60 wins, 10 ties, 30 losses: 0.65; the plain normal half width is 0.0882 (reference file)."""
    found = proportion_interval([1.0] * 60 + [0.5] * 10 + [0.0] * 30)
    assert found.value == 0.65
    assert (found.high - found.low) / 2 == pytest.approx(0.0882, abs=0.003)
    assert mean_interval([1.0] * 60 + [0.5] * 10 + [0.0] * 30).n == 100


@pytest.mark.parametrize("outcome", [0.0, 0.5, 1.0])
def test_uniform_outcomes_still_have_a_width(outcome):
    found = proportion_interval([outcome] * 20)
    assert found.value == outcome
    assert found.low <= outcome <= found.high
    assert found.high - found.low > 0.05


def test_duplicating_every_observation_within_its_cluster_changes_nothing():
    rng = np.random.default_rng(0)
    wins = rng.integers(0, 2, 60).astype(float).tolist()
    once = proportion_interval(wins, range(60))
    thrice = proportion_interval([w for w in wins for _ in range(3)], [i // 3 for i in range(180)])
    assert (once.value, once.n) == (thrice.value, thrice.n)
    assert (once.low, once.high) == pytest.approx((thrice.low, thrice.high))
    naive = proportion_interval([w for w in wins for _ in range(3)])
    assert naive.high - naive.low < 0.7 * (once.high - once.low)


def _clustered_wins(rng, clusters=60, size=4, p=0.7, tie=0.0):
    """Outcomes that share a prompt's difficulty: Beta-distributed win chance per cluster."""
    chances = rng.beta(2 * p, 2 * (1 - p), clusters)
    wins = (rng.random((clusters, size)) < chances[:, None]).astype(float)
    wins[rng.random((clusters, size)) < tie] = 0.5
    return wins.ravel().tolist(), np.repeat(np.arange(clusters), size).tolist()


def test_clustered_proportion_covers_and_the_naive_interval_does_not():
    """95 % intervals over 800 simulated sets: 4 correlated outcomes each, win chance 0.7.

    The seed is fixed; a true coverage of 0.95 would leave [0.93, 0.98] for 1 seed in 200.
    """
    rng = np.random.default_rng(1)
    hits = naive_hits = 0
    for _ in range(800):
        wins, clusters = _clustered_wins(rng)
        found = proportion_interval(wins, clusters)
        naive = proportion_interval(wins)
        hits += found.low <= 0.7 <= found.high
        naive_hits += naive.low <= 0.7 <= naive.high
    assert 0.93 <= hits / 800 <= 0.98
    assert naive_hits / 800 < 0.85


@pytest.mark.parametrize(
    ("p", "tie", "truth"), [(0.5, 0.6, 0.5), (0.95, 0.0, 0.95), (0.02, 0.0, 0.02)]
)
def test_proportion_covers_with_ties_and_near_the_ends(p, tie, truth):
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(600):
        wins = (rng.random(100) < p).astype(float)
        wins[rng.random(100) < tie] = 0.5
        found = proportion_interval(wins.tolist())
        hits += found.low <= truth <= found.high
    assert hits / 600 >= 0.925


def test_unequal_clusters_cover():
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(600):
        sizes = rng.integers(1, 9, 80)
        chances = rng.beta(1.5, 1.5, 80)
        wins = [float(w) for p, s in zip(chances, sizes, strict=True) for w in rng.random(s) < p]
        found = proportion_interval(wins, np.repeat(np.arange(80), sizes).tolist())
        hits += found.low <= 0.5 <= found.high
    assert 0.925 <= hits / 600 <= 0.985


def test_mean_interval_by_hand_and_by_coverage():
    """[1, 2, 3, 4]: mean 2.5, sample sd 1.290994, standard error 0.645497."""
    found = mean_interval([1.0, 2.0, 3.0, 4.0])
    assert (found.value, found.n) == (2.5, 4)
    assert found.high - 2.5 == pytest.approx(1.959964 * 0.6454972, abs=1e-6)
    rng = np.random.default_rng(4)
    hits = 0
    for _ in range(600):
        means = rng.normal(3.0, 2.0, 60)
        values = (means[:, None] + rng.normal(0.0, 0.5, (60, 3))).ravel().tolist()
        found = mean_interval(values, np.repeat(np.arange(60), 3).tolist())
        hits += found.low <= 3.0 <= found.high
    assert 0.925 <= hits / 600 <= 0.975


def test_one_cluster_has_no_known_spread():
    found = mean_interval([1.0, 5.0], ["same", "same"])
    assert found == Interval(3.0, -math.inf, math.inf, 1)
    assert found.to_dict() == {"value": 3.0, "low": None, "high": None, "n": 1}


def test_what_cannot_be_an_interval_is_refused():
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        proportion_interval([1.5])
    with pytest.raises(ValueError, match="cluster names"):
        mean_interval([1.0, 2.0], ["a"])
    with pytest.raises(ValueError, match="no proportion"):
        wilson_interval(5, 4)
    with pytest.raises(ValueError, match="confidence"):
        normal_quantile(1.0)


def test_resampling_a_mean_covers_as_often_as_it_says():
    """Of a plain mean the bootstrap gives about the normal interval, +-1.96 sd / sqrt(n)."""
    rng = np.random.default_rng(5)
    values = rng.normal(3.0, 2.0, 400)
    sums = [np.array([value, 1.0]) for value in values]
    found = resampled_interval(sums, lambda total: float(total[0] / total[1]))
    assert found is not None
    assert found.value == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.03)
    assert found.high == pytest.approx(values.mean() + half, abs=0.03)
    assert found == resampled_interval(sums, lambda total: float(total[0] / total[1]))


def test_resampling_without_a_statistic_or_a_second_prompt():
    one = [np.array([1.0])]
    assert resampled_interval([], lambda total: 1.0) is None
    assert resampled_interval(one, lambda total: None) is None
    alone = resampled_interval(one, lambda total: float(total[0]))
    assert alone == Interval(1.0, -math.inf, math.inf, 1)
