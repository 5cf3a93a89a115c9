"""Best-of-n: the reference file's numbers, and enumeration of every subset."""

from __future__ import annotations

import json
import random
from itertools import combinations
from pathlib import Path

import pytest

from instructgpt.evaluation.best_of_n import best_of_n_estimate, best_of_n_kl, powers_of_two

REFERENCE = json.loads(
    (Path(__file__).parents[2] / "data" / "paper_unit_reference.json").read_text("utf-8")
)["best_of_n"]


def test_kl_equals_the_reference():
    for n, expected in REFERENCE["KL=log n-(n-1)/n"].items():
        assert best_of_n_kl(int(n)) == pytest.approx(expected, abs=1e-9)


def test_estimate_equals_the_reference():
    case = REFERENCE["unbiased_estimator"]
    for n in (1, 2, 3, 4):
        found = best_of_n_estimate(case["proxy"], case["gold"], n)
        assert found == pytest.approx(case[f"n={n}"])


@pytest.mark.parametrize("ties", [False, True])
def test_estimate_equals_enumeration(ties):
    """Every subset of size n, its best by proxy; equal proxies picked with equal chance."""
    rng = random.Random(0)
    for _ in range(10):
        proxy = [rng.choice([0.0, 1.0, 2.0]) if ties else rng.random() for _ in range(7)]
        gold = [rng.random() for _ in range(7)]
        for n in (1, 2, 4, 7):
            picked = []
            for subset in combinations(range(7), n):
                best = max(proxy[i] for i in subset)
                winners = [gold[i] for i in subset if proxy[i] == best]
                picked.append(sum(winners) / len(winners))
            expected = sum(picked) / len(picked)
            assert best_of_n_estimate(proxy, gold, n) == pytest.approx(expected)


def test_impossible_n_is_refused():
    with pytest.raises(ValueError, match="between 1 and 2"):
        best_of_n_estimate([1.0, 2.0], [0.0, 1.0], 3)
    with pytest.raises(ValueError, match="nothing"):
        best_of_n_kl(0)


def test_powers_of_two_end_at_the_limit():
    assert powers_of_two(16) == [1, 2, 4, 8, 16]
    assert powers_of_two(6) == [1, 2, 4, 6]
    assert powers_of_two(1) == [1]
