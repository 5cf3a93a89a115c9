"""Bootstrap and paired differences."""

from __future__ import annotations

import numpy as np
import pytest

from instructgpt.evaluation.statistics import bootstrap_interval, paired_difference


def test_bootstrap_is_reproducible_and_depends_on_its_seed():
    values = np.random.default_rng(0).exponential(1.0, 80).tolist()
    first = bootstrap_interval(values, np.median, seed=1, resamples=300)
    assert first == bootstrap_interval(values, np.median, seed=1, resamples=300)
    assert first != bootstrap_interval(values, np.median, seed=2, resamples=300)
    assert first.value == np.median(values)
    assert first.low < first.value < first.high


def test_bootstrap_of_the_mean_covers():
    """95 % over 200 exponential samples of 60: at a coverage of 0.93, below 0.87 is 1 in 1000."""
    rng = np.random.default_rng(3)
    hits = 0
    for i in range(200):
        found = bootstrap_interval(
            rng.exponential(2.0, 60).tolist(), np.mean, seed=i, resamples=300
        )
        hits += found.low <= 2.0 <= found.high
    assert 0.87 <= hits / 200 <= 0.99


def test_bootstrap_draws_whole_clusters():
    values = [0.0, 1.0] * 30
    split = bootstrap_interval(values, np.mean, resamples=400)
    paired = bootstrap_interval(
        values, np.mean, clusters=[i // 2 for i in range(60)], resamples=400
    )
    assert split.high - split.low > 0.15
    assert (paired.low, paired.high, paired.n) == (0.5, 0.5, 30)


def test_bootstrap_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats", reason="scipy is an independent oracle")
    values = np.random.default_rng(5).normal(0.0, 1.0, 200)
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=4000, rng=0
    ).confidence_interval
    found = bootstrap_interval(values.tolist(), np.mean, resamples=4000)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.02)


def test_pairing_removes_the_difficulty_of_items():
    """Differences 0.1 exactly: the interval has no width although the items vary widely."""
    hard = [0.0, 5.0, 10.0, 20.0]
    found = paired_difference([h + 0.1 for h in hard], hard)
    assert found.value == pytest.approx(0.1)
    assert found.high - found.low < 1e-9
    with pytest.raises(ValueError):
        paired_difference([1.0], [1.0, 2.0])
