"""How often one model's completion is preferred to another's (paper section 3.6).

A tie is half a win; outcomes cluster by prompt; an abstention is counted and never a number.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from instructgpt.data.records import Prompt
from instructgpt.judging.intervals import Interval, proportion_interval
from instructgpt.judging.protocol import Judge, Look, Ranks
from instructgpt.progress import progress


@dataclass(frozen=True, slots=True)
class WinRate:
    """Win rate of the first model over the second.

    `interval` is None when the judge abstained throughout. `ties` is the share of compared items
    that were ties; `abstained` counts items without any verdict. Where items were judged in both
    orders, `order_consistency` is the share of them whose two verdicts agree, and
    `first_shown_wins` the share of verdicts that are no tie in which the completion shown first
    won: 0.5 when places do not matter.
    """

    interval: Interval | None
    ties: float | None
    abstained: int
    order_consistency: float | None
    judge: str
    first_shown_wins: Interval | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON form: the interval's fields beside the counts."""
        first = self.first_shown_wins
        return {
            **(self.interval.to_dict() if self.interval else _EMPTY),
            "ties": self.ties,
            "abstained": self.abstained,
            "order_consistency": self.order_consistency,
            "first_shown_wins": None if first is None else first.to_dict(),
            "judge": self.judge,
        }


_EMPTY = {"value": None, "low": None, "high": None, "n": 0}


class Pairing(NamedTuple):
    """Completions to compare: item i is `first[i]` against `second[i]` on `prompts[i]`.

    A prompt may come several times.
    """

    prompts: Sequence[Prompt]
    first: Sequence[str]
    second: Sequence[str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge said of one item: 1 when the first is better, 0.5 for a tie; None: nothing.

    forward and backward: with the first completion shown first, and second. `asked` is False for
    identical texts, which are a tie without asking.
    """

    forward: float | None
    backward: float | None
    asked: bool = True

    @property
    def outcome(self) -> float | None:
        """The mean of what was said."""
        given = [v for v in (self.forward, self.backward) if v is not None]
        return sum(given) / len(given) if given else None


def judged_win_rate(
    judge: Judge, prompts: Sequence[Prompt], first: Sequence[str], second: Sequence[str]
) -> WinRate:
    """Show every pair of completions in both orders and average the two verdicts."""
    pairing = Pairing(prompts, first, second)
    (verdicts,) = judge_pairings(judge, [pairing])
    return win_rate_of(verdicts, prompts, judge.name)


def judge_pairings(judge: Judge, pairings: Sequence[Pairing]) -> list[list[Verdict]]:
    """The verdict on every item of every pairing, all asked at once.

    A judge whom order cannot sway sees one order; what it would say of the other is known.
    """
    looks: list[Look] = []
    places: list[tuple[int, int, int]] = []  # pairing, item, turn
    for number, pairing in enumerate(pairings):
        for item, (prompt, one, other) in enumerate(zip(*pairing, strict=True)):
            if one != other:
                turns = [(one, other), (other, one)][: 1 + judge.order_matters]
                places += [(number, item, turn) for turn in range(len(turns))]
                looks += [Look(prompt, shown) for shown in turns]
    said: dict[tuple[int, int, int], float | None] = {}
    with progress(f"judge {judge.name}", len(looks), unit="comparison") as bar:
        for index, ranks in judge.rank_all(looks):
            said[places[index]] = _verdict(ranks)
            bar.advance(1)
    return [
        [_both(said, number, item, judge) for item in range(len(pairing.prompts))]
        for number, pairing in enumerate(pairings)
    ]


def win_rate_of(verdicts: Sequence[Verdict], prompts: Sequence[Prompt], judge: str) -> WinRate:
    """The rate, its interval clustered by prompt, and how far order swayed the judge."""
    keys = [prompt.key for prompt in prompts]
    both = [
        (v.forward, v.backward)
        for v in verdicts
        if v.asked and v.forward is not None and v.backward is not None
    ]
    consistency = sum(f == b for f, b in both) / len(both) if both else None
    # in the backward look the second completion was the one shown first
    first = [
        (shown_first, key)
        for v, key in zip(verdicts, keys, strict=True)
        if v.asked and v.forward is not None and v.backward is not None
        for shown_first in (v.forward, 1 - v.backward)
        if shown_first != 0.5
    ]
    bias = proportion_interval([v for v, _ in first], [k for _, k in first]) if first else None
    return _summarise([v.outcome for v in verdicts], keys, judge, consistency, bias)


def scored_win_rate(
    first: Sequence[float | None],
    second: Sequence[float | None],
    clusters: Sequence[Hashable],
    judge: str,
) -> WinRate:
    """Preference by a score that sees one completion at a time, so that order cannot matter.

    A missing score on either side is an abstention.
    """
    outcomes = [
        None if a is None or b is None else 0.5 * ((a > b) - (a < b)) + 0.5
        for a, b in zip(first, second, strict=True)
    ]
    return _summarise(outcomes, clusters, judge)


def _both(
    said: Mapping[tuple[int, int, int], float | None], number: int, item: int, judge: Judge
) -> Verdict:
    if (number, item, 0) not in said:
        return Verdict(0.5, 0.5, asked=False)
    forward = said[number, item, 0]
    if not judge.order_matters:
        return Verdict(forward, None)
    backward = said[number, item, 1]
    if forward is None or backward is None:
        return Verdict(None, None)  # half a look would count the judge's liking of a place as a win
    return Verdict(forward, 1 - backward)


def _verdict(ranks: Ranks | None) -> float | None:
    """1 when the first of two is better, 0 when worse, 0.5 when tied."""
    if ranks is None:
        return None
    first, second = ranks
    return 0.5 * ((first < second) - (first > second)) + 0.5


def _summarise(
    outcomes: Sequence[float | None],
    clusters: Sequence[Hashable],
    judge: str,
    order_consistency: float | None = None,
    first_shown_wins: Interval | None = None,
) -> WinRate:
    judged = [(o, c) for o, c in zip(outcomes, clusters, strict=True) if o is not None]
    abstained = len(outcomes) - len(judged)
    if not judged:
        return WinRate(None, None, abstained, order_consistency, judge, first_shown_wins)
    values = [o for o, _ in judged]
    interval = proportion_interval(values, [c for _, c in judged])
    ties = sum(v == 0.5 for v in values) / len(values)
    return WinRate(interval, ties, abstained, order_consistency, judge, first_shown_wins)
