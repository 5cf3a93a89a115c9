"""Win rates: both orders, ties half, clusters, abstentions; values worked by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from instructgpt.data.records import Prompt
from instructgpt.evaluation.win_rate import judged_win_rate, scored_win_rate
from instructgpt.judging.protocol import Judge

PROMPTS = [Prompt.from_text(f"question {i}") for i in range(4)]


class FakeJudge(Judge):
    """Ranks by a rule over the texts and remembers what it was shown."""

    name = "fake"
    kind = "fake"
    order_matters = True

    def __init__(self, rule: Callable[[Sequence[str]], Sequence[int] | None]) -> None:
        self.rule = rule
        self.seen: list[tuple[str, ...]] = []

    def rank(self, prompt: Prompt, completions: Sequence[str]) -> Sequence[int] | None:
        self.seen.append(tuple(completions))
        return self.rule(completions)


def longest_first(texts: Sequence[str]) -> list[int]:
    return [1 + sum(len(other) > len(text) for other in texts) for text in texts]


def test_both_orders_are_shown_and_ties_are_half():
    judge = FakeJudge(longest_first)
    found = judged_win_rate(judge, PROMPTS, ["aaa", "a", "bb", "x"], ["a", "aaa", "cc", "x"])
    assert found.interval is not None
    assert found.interval.value == (1 + 0 + 0.5 + 0.5) / 4
    assert (found.ties, found.abstained, found.order_consistency) == (0.5, 0, 1.0)
    assert judge.seen[:2] == [("aaa", "a"), ("a", "aaa")]
    assert ("x", "x") not in judge.seen, "identical texts need no judge"


def test_a_judge_that_prefers_the_first_place_makes_a_tie_and_is_exposed():
    found = judged_win_rate(FakeJudge(lambda texts: [1, 2]), PROMPTS, list("abcd"), list("efgh"))
    assert found.interval is not None
    assert (found.interval.value, found.ties) == (0.5, 1.0)
    assert found.order_consistency == 0.0


def test_abstentions_are_counted_and_never_numbers():
    def rule(texts: Sequence[str]) -> Sequence[int] | None:
        return None if "?" in texts[0] + texts[1] else longest_first(texts)

    found = judged_win_rate(FakeJudge(rule), PROMPTS, ["aa", "?", "?", "aa"], ["a"] * 4)
    assert found.interval is not None
    assert (found.interval.value, found.interval.n, found.abstained) == (1.0, 2, 2)
    silent = judged_win_rate(FakeJudge(lambda texts: None), PROMPTS, list("abcd"), list("efgh"))
    assert (silent.interval, silent.abstained) == (None, 4)
    assert silent.to_dict()["value"] is None


def test_one_order_refused_is_an_abstention():
    """A judge who takes whatever is shown first and is silent once used to give a whole win."""
    found = judged_win_rate(
        FakeJudge(lambda texts: [1, 2] if texts[0] == "a" else None), PROMPTS[:1], ["a"], ["b"]
    )
    assert (found.interval, found.abstained, found.order_consistency) == (None, 1, None)


def test_several_samples_of_a_prompt_are_one_cluster():
    found = judged_win_rate(
        FakeJudge(longest_first), [PROMPTS[0]] * 3 + [PROMPTS[1]], ["aa"] * 4, ["a"] * 4
    )
    assert found.interval is not None
    assert found.interval.n == 2


def test_scores_decide_without_order():
    found = scored_win_rate([3.0, 1.0, 2.0, None], [2.0, 2.0, 2.0, 1.0], "abcd", "gold")
    assert found.interval is not None
    assert (found.interval.value, found.interval.n) == (0.5, 3)
    assert (found.ties, found.abstained) == (pytest.approx(1 / 3), 1)
    assert found.order_consistency is None


def test_swapping_the_models_mirrors_the_rate():
    a, b = [1.0, 5.0, 2.0, 2.0, 0.0], [0.0, 1.0, 3.0, 2.0, 0.5]
    forward, backward = scored_win_rate(a, b, "abcde", "s"), scored_win_rate(b, a, "abcde", "s")
    assert forward.interval is not None
    assert backward.interval is not None
    assert forward.interval.value == pytest.approx(1 - backward.interval.value)
    assert forward.interval.low == pytest.approx(1 - backward.interval.high)


def test_misaligned_answers_are_refused():
    with pytest.raises(ValueError):
        scored_win_rate([1.0], [1.0, 2.0], "a", "s")
