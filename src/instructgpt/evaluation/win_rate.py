"""How often one model's completion is preferred to another's (paper section 3.6).

A tie is half a win; outcomes cluster by prompt; an abstention is counted and never a number.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from instructgpt.data.records import Prompt
from instructgpt.judging.intervals import Interval, proportion_interval
from instructgpt.judging.protocol import Judge


@dataclass(frozen=True, slots=True)
class WinRate:
    """Win rate of the first model over the second.

    `interval` is None when the judge abstained throughout. `ties` is the share of compared items
    that were ties; `abstained` counts items without any verdict; `order_consistency` is the share
    of items judged in both orders whose verdicts agree, None where order cannot matter.
    """

    interval: Interval | None
    ties: float | None
    abstained: int
    order_consistency: float | None
    judge: str

    def to_dict(self) -> dict[str, Any]:
        """JSON form: the interval's fields beside the counts."""
        empty = {"value": None, "low": None, "high": None, "n": 0}
        return {
            **(self.interval.to_dict() if self.interval else empty),
            "ties": self.ties,
            "abstained": self.abstained,
            "order_consistency": self.order_consistency,
            "judge": self.judge,
        }


def judged_win_rate(
    judge: Judge, prompts: Sequence[Prompt], first: Sequence[str], second: Sequence[str]
) -> WinRate:
    """Show every pair of completions in both orders and average the two verdicts.

    Item i compares `first[i]` with `second[i]` on `prompts[i]`; a prompt may come several times.
    Two identical texts are a tie without asking.
    """
    outcomes: list[float | None] = []
    consistent: list[bool] = []
    for prompt, one, other in zip(prompts, first, second, strict=True):
        if one == other:
            outcomes.append(0.5)
            continue
        forward = _verdict(judge.rank(prompt, (one, other)))
        backward = _verdict(judge.rank(prompt, (other, one)))
        verdicts = [forward, None if backward is None else 1 - backward]
        given = [v for v in verdicts if v is not None]
        outcomes.append(sum(given) / len(given) if given else None)
        if len(given) == 2:
            consistent.append(given[0] == given[1])
    share = sum(consistent) / len(consistent) if consistent else None
    return _summarise(outcomes, [p.key for p in prompts], judge.name, share)


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
    return _summarise(outcomes, clusters, judge, None)


def _verdict(ranks: Sequence[int] | None) -> float | None:
    """1 when the first of two is better, 0 when worse, 0.5 when tied."""
    if ranks is None:
        return None
    first, second = ranks
    return 0.5 * ((first < second) - (first > second)) + 0.5


def _summarise(
    outcomes: Sequence[float | None],
    clusters: Sequence[Hashable],
    judge: str,
    order_consistency: float | None,
) -> WinRate:
    judged = [(o, c) for o, c in zip(outcomes, clusters, strict=True) if o is not None]
    abstained = len(outcomes) - len(judged)
    if not judged:
        return WinRate(None, None, abstained, order_consistency, judge)
    values = [o for o, _ in judged]
    interval = proportion_interval(values, [c for _, c in judged])
    ties = sum(v == 0.5 for v in values) / len(values)
    return WinRate(interval, ties, abstained, order_consistency, judge)
