"""Where a comparison stands, and what follows: promote, drop, or go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from instructgpt.judging.confidence_sequence import anytime_intervals
from instructgpt.judging.intervals import Interval
from instructgpt.loop.state import Comparison
from instructgpt.loop.votes import counted_votes, judged_outcomes

Decision = Literal["better", "worse", "undecided", "open"]
SOURCES = {"votes": counted_votes, "judges": judged_outcomes}


@dataclass(frozen=True, slots=True)
class Standing:
    """`paths`: source -> the interval after every outcome; empty where nobody has said anything."""

    decision: Decision
    paths: dict[str, list[Interval]]

    @property
    def last(self) -> dict[str, Interval | None]:
        """The interval of every source as it is now."""
        return {source: path[-1] if path else None for source, path in self.paths.items()}

    def facts(self) -> dict[str, Any]:
        """For the history: every source's interval, or None."""
        last = self.last.items()
        return {source: None if one is None else one.to_dict() for source, one in last}


def standing(root: Path, comparison: Comparison) -> Standing:
    """Read what was said so far, and decide by the comparison's rule."""
    outcomes = {source: read(root, comparison) for source, read in SOURCES.items()}
    paths = {
        source: anytime_intervals(said, comparison.alpha) if said else []
        for source, said in outcomes.items()
    }
    return Standing(decide(comparison, paths), paths)


def decide(comparison: Comparison, paths: dict[str, list[Interval]]) -> Decision:
    """better: every deciding interval lies above one half. worse: one of them lies below.

    undecided: there will be no more of what it is decided by. All of several intervals must agree,
    so that the chance of promoting wrongly is not above that of each.
    """
    deciding = [paths[source] for source in comparison.decided_by]
    if all(_excluded_below(path) for path in deciding):
        return "better"
    if any(path and path[-1].high < 0.5 for path in deciding):
        return "worse"
    over = [_is_over(source, comparison, paths[source]) for source in comparison.decided_by]
    if any(done and not _excluded_below(p) for done, p in zip(over, deciding, strict=True)):
        return "undecided"
    return "open"


def _excluded_below(path: Sequence[Interval]) -> bool:
    return bool(path) and path[-1].low > 0.5


def _is_over(source: str, comparison: Comparison, path: Sequence[Interval]) -> bool:
    """Judges say everything at once; users until there are enough votes."""
    return bool(path) and (source == "judges" or len(path) >= comparison.max_votes)
