"""Both orders, their average, and what places would have decided: by hand and by brute force."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product

import pytest

from instructgpt.data.records import Prompt
from instructgpt.judging.balance import judge_tasks, position_bias
from instructgpt.judging.protocol import Judge, Look, Ranks
from instructgpt.judging.scores import RewardModelJudge, ranks_of_scores

PROMPT = Prompt.from_text("question")


class Ruled(Judge):
    """Ranks by a rule over the texts as shown, and remembers them."""

    name = kind = "ruled"

    def __init__(self, rule, order_matters: bool = True) -> None:
        self.rule = rule
        self.order_matters = order_matters  # type: ignore[misc]
        self.seen: list[tuple[str, ...]] = []

    def rank(self, prompt: Prompt, completions: Sequence[str]) -> Ranks | None:
        self.seen.append(tuple(completions))
        return self.rule(completions)


def by_letter(texts: Sequence[str]) -> list[int]:
    return [1 + sorted(texts).index(text) for text in texts]


def first_is_best(texts: Sequence[str]) -> list[int]:
    return list(range(1, 1 + len(texts)))


def judge_one(rule, texts: str, order: Sequence[int], **settings):
    judge = Ruled(rule, **settings)
    (found,) = judge_tasks(judge, [Look(PROMPT, tuple(texts))], [tuple(order)])
    return found, judge


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("order_matters", [False, True])
def test_ranks_come_back_in_the_tasks_order_whatever_was_shown(order, order_matters):
    found, judge = judge_one(by_letter, "bca", order, order_matters=order_matters)
    assert found.ranks == (2, 3, 1)
    shown = tuple("bca"[i] for i in order)
    assert judge.seen == [shown, shown[::-1]][: 1 + order_matters]
    assert found.order == order
    assert found.alike == ((True,) * 3 if order_matters else ())


def test_a_judge_of_places_ties_everything_and_is_exposed():
    found, _ = judge_one(first_is_best, "abcd", (2, 0, 3, 1))
    assert found.ranks == (1, 1, 1, 1)
    assert found.alike == (False,) * 6
    assert found.first_won == (True,) * 12
    bias = position_bias([found], ["p"])
    assert bias is not None
    assert bias["order_consistency"]["value"] == 0.0
    assert (bias["first_shown_wins"]["value"], bias["first_shown_wins"]["pairs"]) == (1.0, 12)


def test_the_average_of_two_orders_by_hand():
    """abc: a > b = c; cba: b > c > a. Places 1, 2.5, 2.5 and 3, 1, 2: sums 4, 3.5, 4.5."""
    found, _ = judge_one(
        lambda texts: [1, 2, 2] if texts[0] == "a" else [2, 1, 3], "abc", (0, 1, 2)
    )
    assert found.ranks == (2, 1, 3)
    assert found.alike == (False, False, False)
    # abc: a before b, a before c won (b = c is a tie); cba: c lost to b, c beat a, b beat a
    assert sorted(found.first_won) == [False, True, True, True, True]


def test_one_order_without_an_answer_is_no_verdict():
    found, _ = judge_one(lambda t: None if t[0] == "a" else [1, 2], "ab", (0, 1))
    assert found.ranks is None
    assert found.alike == found.first_won == ()
    assert position_bias([found], ["p"]) is None


def test_an_unbiased_judge_with_ties():
    ranks = {"a": 1, "b": 2, "c": 2}
    found, _ = judge_one(lambda texts: [ranks[t] for t in texts], "cab", (1, 2, 0))
    assert found.ranks == (2, 1, 2)
    bias = position_bias([found], ["p"])
    assert bias is not None
    assert bias["order_consistency"]["value"] == 1.0
    assert bias["first_shown_wins"]["value"] == 0.5
    assert bias["first_shown_wins"]["n"] == 1


def test_verdicts_may_arrive_in_any_order_and_each_task_counts_once():
    class Backwards(Ruled):
        def rank_all(self, looks):
            yield from reversed(list(super().rank_all(looks)))

    advanced: list[int] = []
    tasks = [Look(PROMPT, tuple(texts)) for texts in ("ab", "cba", "ba")]
    found = judge_tasks(
        Backwards(by_letter), tasks, [(0, 1), (0, 1, 2), (1, 0)], lambda: advanced.append(1)
    )
    assert [one.ranks for one in found] == [(1, 2), (3, 2, 1), (2, 1)]
    assert len(advanced) == 3


def test_ranks_of_scores_equal_a_count_of_what_is_better():
    for scores in product([0.0, 1.5, 2.0], repeat=4):
        better = [len({other for other in scores if other > score}) for score in scores]
        assert list(ranks_of_scores(scores)) == [1 + count for count in better]
    assert ranks_of_scores([0.9, 1.1, 1.4, -0.1], tie_width=0.5) == (2, 1, 1, 3)


def test_a_reward_model_scores_everything_in_few_batches():
    batches: list[int] = []

    def score(prompts, completions):
        batches.append(len(completions))
        assert all(p is PROMPT for p in prompts)
        return [float(len(c)) for c in completions]

    judge = RewardModelJudge("rm", score)
    looks = [Look(PROMPT, ("a" * (i % 5), "bb", "ccc")) for i in range(100)]
    found = dict(judge.rank_all(looks))
    assert [found[i] for i in range(5)] == [(3, 2, 1), (3, 2, 1), (2, 2, 1), (1, 2, 1), (1, 3, 2)]
    assert batches == [192, 108]
    assert judge.rank(PROMPT, ["a", "bb"]) == (2, 1)
