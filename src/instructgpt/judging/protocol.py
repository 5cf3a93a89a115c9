"""What it takes to be a judge: people, simulated labelers, models behind an endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from instructgpt.data.records import Prompt


@dataclass(frozen=True, slots=True)
class Rating:
    """A judge's view of one completion: Likert 1 (worst) to 7 (best), and the paper's flags."""

    likert: int
    flags: dict[str, Any] = field(default_factory=dict)


class Judge(Protocol):
    """Ranks completions blind: it sees texts, never which model wrote them."""

    name: str

    def rank(self, prompt: Prompt, completions: Sequence[str]) -> Sequence[int] | None:
        """One rank per completion, 1 is best, equal is a tie; None when the judge abstains."""


class RatingJudge(Judge, Protocol):
    """A judge that also rates each completion by itself."""

    def rate(self, prompt: Prompt, completion: str) -> Rating:
        """Likert score and flags (paper table 3)."""
