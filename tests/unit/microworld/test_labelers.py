"""Simulated labelers: order does not matter, tastes differ, ties happen, and they roughly agree."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from instructgpt.microworld.demonstrations import demonstrate
from instructgpt.microworld.gold import PENALTIES, Gold
from instructgpt.microworld.labelers import hire_labelers, other_labeler
from instructgpt.microworld.tasks import draw_prompt
from instructgpt.microworld.world import World

WORLD = World.generate(0, people=16, unknown=4)
GOLD = Gold(WORLD)
LABELERS = hire_labelers(GOLD, 5, seed=0)


def _questions(count):
    """Prompts with 5 answers each that people with the usual flaws would write."""
    rng = random.Random(0)
    prompts = [draw_prompt(WORLD, rng) for _ in range(count)]
    return [(p, [demonstrate(WORLD, p, rng).completion for _ in range(5)]) for p in prompts]


QUESTIONS = _questions(250)


def _agreement(first, second):
    """Share of the pairs that neither ties on which both prefer the same completion."""
    same = total = 0
    for prompt, completions in QUESTIONS:
        a, b = first.rank(prompt, completions), second.rank(prompt, completions)
        for i, j in itertools.combinations(range(len(completions)), 2):
            if a[i] != a[j] and b[i] != b[j]:
                total += 1
                same += (a[i] < a[j]) == (b[i] < b[j])
    return same / total


@pytest.mark.parametrize("labeler", [*LABELERS, other_labeler(GOLD, 0)], ids=lambda x: x.name)
def test_ranks_follow_the_texts_not_their_order_or_company(labeler):
    for prompt, completions in QUESTIONS[:30]:
        ranks = dict(zip(completions, labeler.rank(prompt, completions), strict=True))
        shuffled = random.Random(1).sample(completions, len(completions))
        again = dict(zip(shuffled, labeler.rank(prompt, shuffled), strict=True))
        assert again == ranks
        few = labeler.rank(prompt, completions[:3])
        for i, j in itertools.combinations(range(3), 2):
            assert (few[i] < few[j]) == (ranks[completions[i]] < ranks[completions[j]])


def test_ranks_are_dense_from_one_and_equal_texts_tie():
    for prompt, completions in QUESTIONS[:50]:
        ranks = LABELERS[0].rank(prompt, [*completions, completions[0]])
        assert set(ranks) == set(range(1, max(ranks) + 1))
        assert ranks[0] == ranks[-1]


def test_labelers_differ_from_each_other_and_by_seed():
    prompt, completions = QUESTIONS[0]
    utilities = {tuple(x.utility(prompt, c) for c in completions) for x in LABELERS}
    assert len(utilities) == len(LABELERS)
    other_seed = hire_labelers(GOLD, 5, seed=1)[0]
    assert other_seed.utility(prompt, completions[0]) != LABELERS[0].utility(prompt, completions[0])


def test_labelers_agree_well_above_chance_and_below_certainty():
    rates = [_agreement(a, b) for a, b in itertools.combinations(LABELERS, 2)]
    assert 0.65 < sum(rates) / len(rates) < 0.85
    assert min(rates) < max(rates)


def test_without_noise_or_taste_they_would_agree_with_gold():
    exact = replace(LABELERS[0], weights=PENALTIES, noise=0.0, mistakes=0.0, tie_width=1e-6)
    always_wrong = replace(exact, mistakes=1.0)
    for prompt, completions in QUESTIONS[:60]:
        scores = [GOLD.score(prompt, c) for c in completions]
        ranks, reversed_ranks = (x.rank(prompt, completions) for x in (exact, always_wrong))
        for i, j in itertools.combinations(range(len(scores)), 2):
            assert (ranks[i] < ranks[j]) == (scores[i] > scores[j])
            assert (reversed_ranks[i] < reversed_ranks[j]) == (scores[i] < scores[j])


def test_mistakes_are_as_frequent_as_stated():
    hasty = replace(LABELERS[0], weights=PENALTIES, noise=0.0, mistakes=0.25)
    shown = [(p, c) for p, completions in QUESTIONS for c in completions]
    wrong = [hasty.utility(p, c) != GOLD.score(p, c) for p, c in shown if GOLD.score(p, c) != 2.5]
    assert sum(wrong) / len(wrong) == pytest.approx(0.25, abs=4 * (0.1875 / len(wrong)) ** 0.5)


def test_ties_happen():
    ties = 0
    for prompt, completions in QUESTIONS:
        ranks = LABELERS[0].rank(prompt, completions)
        ties += len(ranks) - len(set(ranks))
    assert ties > 0


def test_the_held_out_labeler_has_a_rule_of_its_own():
    among = [_agreement(a, b) for a, b in itertools.combinations(LABELERS, 2)]
    other = other_labeler(GOLD, 0)
    assert other.name not in {x.name for x in LABELERS}
    assert all(other.weights != x.weights for x in LABELERS)
    assert 0.5 < _agreement(other, LABELERS[0]) < max(among) + 0.1


def test_likert_and_flags():
    prompt = next(p for p, _ in QUESTIONS if p.meta["constraint"] == "one_word")
    empty = LABELERS[0].rate(prompt, "")
    assert empty.flags["fails_task"]
    assert not empty.flags["satisfies_constraint"]
    for prompt, completions in QUESTIONS[:50]:
        for completion in completions:
            rating = LABELERS[0].rate(prompt, completion)
            assert 1 <= rating.likert <= 7
            has_constraint = prompt.meta["constraint"] is not None
            assert ("satisfies_constraint" in rating.flags) == has_constraint
