"""What it takes to be a judge: a simulated labeler, a reward model, an AI, a function."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from instructgpt.data.records import Prompt

Ranks = Sequence[int]
"""One rank per completion, 1 is best, equal is a tie."""


class Look(NamedTuple):
    """Completions of one prompt in the order in which a judge sees them."""

    prompt: Prompt
    completions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rating:
    """A judge's view of one completion: Likert 1 (worst) to 7 (best), and the paper's flags."""

    likert: int
    flags: dict[str, Any] = field(default_factory=dict)


class Judge(ABC):
    """Ranks completions blind: it sees texts, never which model wrote them.

    `kind` says what it is, in tables and in the label store. `order_matters`: the place at which
    a completion is shown may sway it, so that it must be asked in both orders.
    """

    name: str
    kind: ClassVar[str]
    order_matters: ClassVar[bool] = False

    @abstractmethod
    def rank(self, prompt: Prompt, completions: Sequence[str]) -> Ranks | None:
        """One rank per completion; None when the judge abstains or cannot be understood."""

    def rank_all(self, looks: Sequence[Look]) -> Iterator[tuple[int, Ranks | None]]:
        """`rank` of many, each with its index, in the order in which they are ready."""
        for index, look in enumerate(looks):
            yield index, self.rank(look.prompt, look.completions)

    def rate(self, prompt: Prompt, completion: str) -> Rating | None:
        """Likert score and flags of one completion (paper table 3), of judges that give them."""
        return None

    def account(self) -> dict[str, Any]:
        """What all judgements so far took and why some failed; the same after an interruption."""
        return {}
