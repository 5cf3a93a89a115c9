"""Agreement as the lead sees it, by hand."""

from __future__ import annotations

import math

import pytest

from instructgpt.labeling.statistics import agreement, kappa_of_pairs, of_labelers, of_tasks


def row(task, labeler, ranks, ratings=None, seconds=None):
    return {"labeler": labeler, "ranks": ranks,
            "meta": {"task": task, "ratings": ratings, "seconds": seconds}}  # fmt: skip


ROWS = [
    row(1, "ann", [1, 2, 3], [7, 5, 1], 10.0),
    row(1, "bob", [1, 3, 2], [7, 2, 4], 30.0),  # pairs 01, 02 alike, 12 not: tau 1/3
    row(2, "ann", [1, 2], [6, 5], 50.0),
    row(2, "bob", [2, 1], [5, 6]),  # tau -1: a conflict
    row(2, "cem", [1, 1], [6, 6], 5.0),  # tau undefined with anybody
    row(3, "ann", [1, 2], [6, 5], 20.0),  # alone
]


def test_pairs_of_all_labelers_by_hand():
    found = agreement(ROWS)
    assert found.tasks == 2
    assert found.pairwise.interval.value == 2 / 4
    assert found.pairwise_with_ties.interval.value == 2 / 6
    assert found.tau.value == pytest.approx((1 / 3 - 1) / 2)
    assert found.pairwise.interval.n == found.tau.n == found.fleiss.n == 2
    assert -1 <= found.tau.low <= found.tau.value <= found.tau.high <= 1


def test_fleiss_of_the_orders_by_hand():
    """Items: (1,1) (1,1) (1,-1) and (1,-1,0). Alike: 1, 1, 0, 0: mean 1/2. Given: 6 times 1, twice
    -1, once 0 of 9: chance 41/81. (1/2 - 41/81) / (40/81).
    """
    assert agreement(ROWS).fleiss.value == pytest.approx((0.5 - 41 / 81) / (40 / 81))


def test_each_labeler_against_the_others():
    found = of_labelers(ROWS)
    assert found["ann"].rankings == 3
    assert found["ann"].seconds == 20.0
    assert found["ann"].ties == 0.0
    assert found["ann"].pairwise.value == 2 / 4  # bob: 2 of 3, and 0 of 1; cem's pairs are tied
    assert found["cem"].ties == 1.0
    assert found["cem"].pairwise is None
    assert found["cem"].tau is None
    assert found["bob"].tau.value == pytest.approx((1 / 3 - 1) / 2)


def test_each_task_and_what_is_a_conflict():
    found = of_tasks(ROWS)
    assert set(found) == {1, 2}
    assert (found[1].labelers, found[1].pairwise) == (2, pytest.approx(2 / 3))
    assert found[1].lowest_tau == pytest.approx(1 / 3)
    assert not found[1].is_conflict
    assert (found[2].labelers, found[2].pairwise, found[2].lowest_tau) == (3, 0.0, -1.0)
    assert found[2].is_conflict


def test_kappa_of_two_people_by_hand():
    """ann and bob: orders (1,1) (1,1) (1,-1) and (1,-1): 2 of 4 alike; chance 1 x 1/2 + 0."""
    assert kappa_of_pairs(ROWS)["ann", "bob"] == pytest.approx(0.0)
    assert set(kappa_of_pairs(ROWS)) == {("ann", "bob"), ("ann", "cem"), ("bob", "cem")}


def test_people_who_say_the_same_agree_fully():
    rows = [row(t, name, [1, 2, 3], [6, 4, 2]) for t in range(5) for name in ("ann", "bob")]
    found = agreement(rows)
    assert found.alpha.value == found.tau.value == found.pairwise.interval.value == 1.0
    assert (found.alpha.low, found.alpha.high) == (1.0, 1.0)
    assert found.fleiss is None  # always the same order: chance alone would do that


def test_nobody_to_compare_with_is_no_number():
    for rows in ([], ROWS[-1:]):
        found = agreement(rows)
        assert (found.tasks, found.tau, found.fleiss, found.alpha) == (0, None, None, None)
        assert found.pairwise.interval is None
    alone = agreement(ROWS[:2])
    assert alone.alpha.n == 1
    assert alone.alpha.low == -math.inf
