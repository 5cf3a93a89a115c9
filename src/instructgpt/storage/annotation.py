"""One labeler's judgement of one task's K completions, in the paper's words (section 3.4, B)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from instructgpt.errors import LabelError

MIN_COMPLETIONS = 2
MAX_COMPLETIONS = 9
LIKERT = range(1, 8)


@dataclass(frozen=True, slots=True)
class Annotation:
    """Ranks, and whatever else the labeler said; indices are the task's own, not the shown ones.

    `ranks[i]` is completion i's rank, 1 = best, equal = tie. `ratings[i]` is 1 (worst) to 7, or
    None. A flag is True, False or None (not answered) about the whole task, or a list of K of
    them, one per completion. `seconds` is the time spent; `order` the order in which the
    completions were shown; `use_case` what the prompt asks for, as in the paper's table 1.
    """

    ranks: Sequence[int]
    ratings: Sequence[int | None] | None = None
    flags: Mapping[str, Any] = field(default_factory=dict)
    notes: str = ""
    seconds: float | None = None
    order: Sequence[int] | None = None
    use_case: str | None = None

    def check(self, num_completions: int) -> None:
        """Errors: LabelError when a part does not fit a task of this many completions."""
        check_ranks(self.ranks, num_completions)
        if self.ratings is not None:
            _check_length("ratings", self.ratings, num_completions)
            if not all(value is None or _is_int(value, LIKERT) for value in self.ratings):
                raise LabelError(f"ratings {list(self.ratings)}: each must be 1 to 7, or null")
        for name, value in self.flags.items():
            _check_flag(name, value, num_completions)
        if self.seconds is not None and not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise LabelError(f"seconds is {self.seconds}; it must be a time of 0 or more")
        if self.order is not None and sorted(self.order) != list(range(num_completions)):
            raise LabelError(
                f"order {list(self.order)}: each of 0 to {num_completions - 1} must be there once"
            )


def check_ranks(ranks: Sequence[int], num_completions: int) -> None:
    """Dense (1, 2, 2, 3) and competition (1, 2, 2, 4) ranks are both understood.

    Errors: LabelError for a wrong number of ranks, or ranks that are neither.
    """
    _check_length("ranks", ranks, num_completions)
    if not all(_is_int(rank, range(1, num_completions + 1)) for rank in ranks):
        raise LabelError(f"ranks {list(ranks)}: each must be a whole number 1 to {num_completions}")
    competition = [1 + sum(other < rank for other in ranks) for rank in ranks]
    if list(ranks) not in (dense_ranks(ranks), competition):
        raise LabelError(
            f"ranks {list(ranks)}: expected 1 for the best and no gaps ({dense_ranks(ranks)}), or "
            f"gaps only after ties ({competition})"
        )


def dense_ranks(ranks: Sequence[int]) -> list[int]:
    """The same order and ties with ranks 1, 2, 3, ... and no gaps, whatever the gaps were."""
    levels = sorted(set(ranks))
    return [1 + levels.index(rank) for rank in ranks]


def _check_flag(name: str, value: Any, num_completions: int) -> None:
    answers = value if isinstance(value, list | tuple) else [value] * num_completions
    _check_length(f"flag '{name}'", answers, num_completions)
    if not all(answer is None or isinstance(answer, bool) for answer in answers):
        raise LabelError(f"flag '{name}' is {value!r}; an answer is true, false or null")


def _check_length(name: str, values: Sequence[Any], num_completions: int) -> None:
    if len(values) != num_completions:
        raise LabelError(
            f"{name}: {len(values)} given, and the task has {num_completions} completions"
        )


def _is_int(value: Any, allowed: range) -> bool:
    return type(value) is int and value in allowed
