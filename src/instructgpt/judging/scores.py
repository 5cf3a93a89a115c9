"""Judges that score completions one by one: what scores higher ranks better."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

from instructgpt.data.records import Prompt
from instructgpt.judging.protocol import Judge, Look, Ranks

ScoreAll = Callable[[Sequence[Prompt], Sequence[str]], Sequence[float]]
"""score(prompts, completions): one number per completion, the higher the better."""

_CHUNK = 64  # looks scored together: enough for full batches, few enough to show progress


def ranks_of_scores(scores: Sequence[float], tie_width: float = 0.0) -> tuple[int, ...]:
    """1 for the highest; equal scores tie, or those in one step when steps are `tie_width` wide."""
    steps = [math.floor(score / tie_width) if tie_width else score for score in scores]
    better = sorted(set(steps), reverse=True)
    return tuple(1 + better.index(step) for step in steps)


class RewardModelJudge(Judge):
    """A reward model as a judge. Its score is of one completion, so that order cannot matter."""

    kind: ClassVar[str] = "reward_model"

    def __init__(self, name: str, score: ScoreAll, tie_width: float = 0.0) -> None:
        self.name = name
        self._score = score
        self._tie_width = tie_width

    def rank(self, prompt: Prompt, completions: Sequence[str]) -> Ranks | None:
        """Ranks by score."""
        ((_, ranks),) = self.rank_all([Look(prompt, tuple(completions))])
        return ranks

    def rank_all(self, looks: Sequence[Look]) -> Iterator[tuple[int, Ranks | None]]:
        """Scored in batches."""
        for start in range(0, len(looks), _CHUNK):
            chunk = looks[start : start + _CHUNK]
            pairs = [(look.prompt, text) for look in chunk for text in look.completions]
            scores = iter(self._score([p for p, _ in pairs], [text for _, text in pairs]))
            for index, look in enumerate(chunk, start):
                own = [next(scores) for _ in look.completions]
                yield index, ranks_of_scores(own, self._tie_width)
