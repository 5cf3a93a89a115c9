"""Which answers stand against which, and who wins: by a score, or by judges who see both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from instructgpt.data.records import Prompt
from instructgpt.evaluation.answers import Answer
from instructgpt.evaluation.conditions import GREEDY, RESAMPLED, SAMPLED
from instructgpt.evaluation.summarize import Preference, answer_win_rate, preferred_by
from instructgpt.evaluation.win_rate import Pairing, Verdict, WinRate, judge_pairings, win_rate_of
from instructgpt.judging.agreement_matrix import GivenRanking, agreement_matrix
from instructgpt.judging.protocol import Judge

ByCondition = Mapping[str, Sequence[Answer]]
CONTROLS = "controls"


class Comparison(NamedTuple):
    """Answers of a model under a condition against the reference's, on the same prompts.

    `model` is CONTROLS where the reference stands against itself; `name` is the mode or condition.
    """

    model: str
    name: str
    first: Sequence[Answer]
    second: Sequence[Answer]


Rates = list[WinRate]
"""One per comparison, in order."""


def all_comparisons(answers: Mapping[str, ByCondition], reference: str) -> list[Comparison]:
    """Three of every model, and every condition of the reference against its own samples."""
    ours = answers[reference]
    found = []
    for name, theirs in answers.items():
        # best-of-n has no greedy mode: its choice stands against the reference's greedy answer
        greedy = theirs.get(GREEDY, theirs[SAMPLED])
        opponent = ours[RESAMPLED] if name == reference else ours[SAMPLED]
        found += [
            Comparison(name, "sampled", theirs[SAMPLED], opponent),
            Comparison(name, "greedy", greedy, ours[GREEDY]),
            Comparison(name, "sampled_vs_greedy", theirs[SAMPLED], ours[GREEDY]),
        ]
    found += [
        Comparison(CONTROLS, condition, rows, ours[SAMPLED])
        for condition, rows in ours.items()
        if condition != SAMPLED
    ]
    return found


def score_all(
    comparisons: Sequence[Comparison], prompts: Sequence[Prompt], preference: Preference
) -> Rates:
    """Win rates by a score that every answer has."""
    return [answer_win_rate(prompts, c.first, c.second, preference) for c in comparisons]


def judge_all(
    judges: Sequence[Judge],
    comparisons: Sequence[Comparison],
    prompts: Sequence[Prompt],
    scores: Sequence[Preference],
) -> tuple[list[Rates], dict[str, Any]]:
    """Every judge's win rates; and what evaluation.json says of the judges.

    `scores` are those that every answer has, which stand beside the judges in the agreement.
    """
    pairings = [_pairing(c, prompts) for c in comparisons]
    items = [p for pairing in pairings for p in pairing.prompts]
    rates, accounts = [], []
    given = [ranking for score in scores for ranking in _by_score(score, comparisons, prompts)]
    for judge in judges:
        found = judge_pairings(judge, pairings)
        verdicts = [verdict for own in found for verdict in own]
        whole = win_rate_of(verdicts, items, judge.name)
        own_rates = [
            win_rate_of(own, pairing.prompts, judge.name)
            for own, pairing in zip(found, pairings, strict=True)
        ]
        rates.append(own_rates)
        given += _by_judge(judge, verdicts, items)
        first = whole.first_shown_wins
        accounts.append(
            {
                "name": judge.name,
                "kind": judge.kind,
                "asked": sum(verdict.asked for verdict in verdicts),
                "abstained": whole.abstained,
                **judge.account(),
                "order_consistency": whole.order_consistency,
                "first_shown_wins": None if first is None else first.to_dict(),
                **as_tables(comparisons, own_rates),
            }
        )
    return rates, {"judges": accounts, "agreement": agreement_matrix(given)}


def as_tables(comparisons: Sequence[Comparison], rates: Rates) -> dict[str, Any]:
    """`win_rate`: model -> mode -> rate, and `controls`: condition -> rate, as JSON values."""
    tables: dict[str, dict[str, Any]] = {CONTROLS: {}}
    for comparison, rate in zip(comparisons, rates, strict=True):
        tables.setdefault(comparison.model, {})[comparison.name] = rate.to_dict()
    controls = tables.pop(CONTROLS)
    return {"win_rate": tables, CONTROLS: controls}


def _pairing(comparison: Comparison, prompts: Sequence[Prompt]) -> Pairing:
    opponent = {answer.prompt: answer for answer in comparison.second}
    return Pairing(
        [prompts[a.prompt] for a in comparison.first],
        [a.completion for a in comparison.first],
        [opponent[a.prompt].completion for a in comparison.first],
    )


def _by_judge(
    judge: Judge, verdicts: Sequence[Verdict], items: Sequence[Prompt]
) -> list[GivenRanking]:
    """Verdicts as rankings of two; identical answers, which nobody was asked about, are none."""
    return [
        GivenRanking(i, judge.name, judge.kind, _ranks(verdict.outcome), items[i].key)
        for i, verdict in enumerate(verdicts)
        if verdict.asked and verdict.outcome is not None
    ]


def _by_score(
    score: Preference, comparisons: Sequence[Comparison], prompts: Sequence[Prompt]
) -> list[GivenRanking]:
    given = []
    number = 0
    for comparison in comparisons:
        opponent = {answer.prompt: answer for answer in comparison.second}
        for answer in comparison.first:
            ours, theirs = preferred_by(answer, score), preferred_by(opponent[answer.prompt], score)
            if ours is not None and theirs is not None:
                outcome = 0.5 + 0.5 * ((ours > theirs) - (ours < theirs))
                key = prompts[answer.prompt].key
                given.append(GivenRanking(number, score, score, _ranks(outcome), key))
            number += 1
    return given


def _ranks(outcome: float) -> tuple[int, int]:
    return (1, 2) if outcome > 0.5 else (2, 1) if outcome < 0.5 else (1, 1)
