"""Agreement statistics against hand-worked numbers and other libraries."""

from __future__ import annotations

import random

import pytest

from instructgpt.judging.agreement import (
    cohen_kappa,
    fleiss_kappa,
    kendall_tau_b,
    krippendorff_alpha,
    pairwise_agreement,
)


def test_pairwise_agreement_by_hand():
    """Ranks (1,2,3) and (1,3,2): pairs 01 and 02 alike, 12 reversed: 2 of 3."""
    found = pairwise_agreement([((1, 2, 3), (1, 3, 2))])
    assert found.interval is not None
    assert found.interval.value == pytest.approx(2 / 3)
    assert (found.num_pairs, found.num_ties) == (3, 0)


def test_ties_are_dropped_or_a_third_answer():
    """(1,1,2) and (1,2,2): pair 01 tied/strict, 02 strict/strict alike, 12 strict/tied."""
    rankings = [((1, 1, 2), (1, 2, 2))]
    dropped = pairwise_agreement(rankings)
    assert dropped.interval is not None
    assert (dropped.interval.value, dropped.num_pairs, dropped.num_ties) == (1.0, 1, 2)
    matched = pairwise_agreement(rankings, ties="match")
    assert matched.interval is not None
    assert (matched.interval.value, matched.num_pairs) == (pytest.approx(1 / 3), 3)
    both_tied = pairwise_agreement([((1, 1), (2, 2))], ties="match")
    assert both_tied.interval is not None
    assert both_tied.interval.value == 1.0


def test_nothing_to_count_is_no_number():
    assert pairwise_agreement([((1, 1), (1, 2))]).interval is None
    assert pairwise_agreement([]).interval is None


def test_clusters_are_prompts_not_pairs():
    alike, opposed = ((1, 2, 3, 4), (1, 2, 3, 4)), ((1, 2, 3, 4), (4, 3, 2, 1))
    found = pairwise_agreement([alike] * 10 + [opposed] * 10).interval
    assert found is not None
    assert found.n == 20
    assert found.high - found.low > 0.35  # 20 independent things, not 120
    merged = pairwise_agreement([alike, opposed], clusters=["p", "p"]).interval
    assert merged is not None
    assert merged.n == 1


def test_symmetric_and_invariant_to_relabelled_ranks():
    rng = random.Random(0)
    for _ in range(20):
        a = [rng.randint(1, 4) for _ in range(6)]
        b = [rng.randint(1, 4) for _ in range(6)]
        ab, ba = pairwise_agreement([(a, b)]), pairwise_agreement([(b, a)])
        assert (ab.interval, ab.num_pairs) == (ba.interval, ba.num_pairs)
        assert pairwise_agreement([([10 * r for r in a], b)]).interval == ab.interval


def test_kendall_by_hand():
    """(1,2,3,4) and (1,2,4,3): 5 concordant, 1 discordant of 6: 4/6. One tie: 2/sqrt(2 x 3)."""
    assert kendall_tau_b([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(4 / 6)
    assert kendall_tau_b([1, 1, 2], [1, 2, 3]) == pytest.approx(2 / 6**0.5)
    assert kendall_tau_b([1, 2, 3], [3, 2, 1]) == -1.0
    assert kendall_tau_b([1, 1, 1], [1, 2, 3]) is None


def test_kendall_equals_scipy():
    stats = pytest.importorskip("scipy.stats", reason="scipy is an independent oracle")
    rng = random.Random(1)
    for _ in range(30):
        a = [rng.randint(1, 5) for _ in range(9)]
        b = [rng.randint(1, 5) for _ in range(9)]
        assert kendall_tau_b(a, b) == pytest.approx(stats.kendalltau(a, b).statistic)


def test_kappa_by_hand():
    """Cohen's 2 x 2 with 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: po 0.7, pe 0.5, kappa 0.4."""
    first = ["y"] * 25 + ["n"] * 25
    second = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)
    assert cohen_kappa(["y", "y"], ["y", "y"]) is None
    with pytest.raises(ValueError, match="same items"):
        cohen_kappa(["y"], ["y", "n"])


# Gwet 2014, "Handbook of Inter-Rater Reliability", also in the encyclopedia's article on Fleiss'
# kappa: 14 raters put 10 subjects into 5 categories; rows count raters per category. Kappa 0.210.
FLEISS = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


def test_fleiss_equals_the_published_example():
    items = [[c for c, n in enumerate(counts) for _ in range(n)] for counts in FLEISS]
    assert fleiss_kappa(items) == pytest.approx(0.210, abs=5e-4)
    assert fleiss_kappa([*items, [3], []]) == pytest.approx(0.210, abs=5e-4)  # say nothing


def test_fleiss_of_two_raters_by_hand():
    """Items ab, aa, bb, ab: half alike; a and b given equally often, chance 1/2: kappa 0."""
    assert fleiss_kappa([[0, 1], [0, 0], [1, 1], [1, 0]]) == pytest.approx(0.0)
    assert fleiss_kappa([[1, 1], [2, 2]]) == pytest.approx(1.0)
    assert fleiss_kappa([[1, 1], [1, 1]]) is None
    assert fleiss_kappa([[1], []]) is None


# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", part D: four observers, 12 units.
# Published: alpha nominal 0.743, ordinal 0.815, interval 0.849.
NONE = None
KRIPPENDORFF_2011 = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NONE, NONE, NONE],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NONE, 3],
    [NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NONE],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NONE],
]


def test_alpha_equals_krippendorffs_own_example():
    assert krippendorff_alpha(KRIPPENDORFF_2011) == pytest.approx(0.815, abs=5e-4)


def test_alpha_of_the_extremes():
    assert krippendorff_alpha([[1, 2, 3, 4], [1, 2, 3, 4]]) == pytest.approx(1.0)
    assert krippendorff_alpha([[1, 1], [1, 1]]) is None
    assert krippendorff_alpha([[1, None], [None, 2]]) is None
    opposed = krippendorff_alpha([[1, 2, 3, 4], [4, 3, 2, 1]])
    assert opposed is not None
    assert opposed < 0


def test_alpha_equals_the_krippendorff_package():
    krippendorff = pytest.importorskip("krippendorff", reason="an independent oracle")
    rng = random.Random(2)
    for _ in range(10):
        ratings = [[rng.choice([1, 2, 3, 5, None]) for _ in range(15)] for _ in range(3)]
        floats = [[float("nan") if r is None else float(r) for r in row] for row in ratings]
        expected = krippendorff.alpha(floats, level_of_measurement="ordinal")
        assert krippendorff_alpha(ratings) == pytest.approx(expected)
