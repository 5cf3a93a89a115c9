"""Agreement of every two judges, by hand."""

from __future__ import annotations

from instructgpt.judging.agreement_matrix import GivenRanking, agreement_matrix


def given(task: int, judge: str, kind: str, *ranks: int) -> GivenRanking:
    return GivenRanking(task, judge, kind, ranks, f"prompt {task}")


RANKINGS = [
    given(0, "ann", "people", 1, 2, 3),
    given(0, "bob", "people", 1, 3, 2),  # agrees with ann on 2 of 3
    given(0, "gpt", "ai", 3, 2, 1),  # on 0 of 3 with ann, 1 of 3 with bob
    given(1, "ann", "people", 1, 2),
    given(1, "gpt", "ai", 1, 2),  # 1 of 1
    given(2, "gpt", "ai", 2, 1),  # alone
    given(3, "bob", "people", 1, 1),
    given(3, "gpt", "ai", 1, 2),  # tied by bob: not counted
]


def test_pairs_of_judges_and_of_kinds():
    found = agreement_matrix(RANKINGS)
    table = {(e["a"], e["b"]): (e["value"], e["pairs"], e["ties"], e["n"]) for e in found["judges"]}
    assert table == {
        ("ann", "bob"): (2 / 3, 3, 0, 1),
        ("ann", "gpt"): (1 / 4, 4, 0, 2),
        ("bob", "gpt"): (1 / 3, 3, 1, 1),
    }
    kinds = {(e["a"], e["b"]): (e["value"], e["pairs"], e["n"]) for e in found["kinds"]}
    assert kinds == {("ai", "people"): (2 / 7, 7, 2), ("people", "people"): (2 / 3, 3, 1)}
    assert found["overall"]["value"] == 4 / 10
    entry = found["judges"][0]
    assert 0 <= entry["low"] < entry["value"] < entry["high"] <= 1


def test_nobody_shares_a_task():
    found = agreement_matrix([given(0, "ann", "people", 1, 2), given(1, "bob", "people", 1, 2)])
    assert found == {"overall": None, "judges": [], "kinds": []}


def test_one_labeler_twice_is_no_agreement_of_two():
    found = agreement_matrix([given(0, "ann", "people", 1, 2), given(0, "ann", "people", 2, 1)])
    assert found["overall"] is None
