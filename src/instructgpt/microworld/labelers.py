"""Simulated labelers: people with tastes, blind spots and bad days, who rank what they are shown.

Each sees the gold components of a completion through weights of their own, adds noise, and cannot
tell small differences apart. Every random number is a function of (seed, labeler, prompt,
completion), so a labeler says the same of the same text whenever and in whatever company it comes.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar

from instructgpt.data.records import Prompt
from instructgpt.judging.protocol import Judge, Rating
from instructgpt.judging.scores import ranks_of_scores
from instructgpt.microworld.gold import MAX_SCORE, PENALTIES, Gold, score_of

# With these two, labelers order 0.73 to 0.77 of the pairs alike that neither ties, on samples of
# the quickstart's SFT model, as the paper's did (section 3.4: 72.6 +- 1.5 %, held-out ones 77.3).
# The figure depends on that model: docs/results.md has what each run found.
NOISE = 0.9
# How often a labeler misreads a completion, and takes the good for bad and the bad for good.
MISTAKES = 0.03
TIE_WIDTH = 0.5
# How much tastes differ: each weight is multiplied by exp(TASTE x standard normal).
TASTE = 0.35

# A rule that no training label follows: somebody who wants it short and polite above all.
OTHER_RULE: dict[str, float] = {
    "correct": 2.0,
    "language": 1.5,
    "constraint": 1.0,
    "supported": 0.5,
    "polite": 2.5,
    "concise": 3.5,
}


@dataclass(frozen=True)
class SimulatedLabeler(Judge):
    """One labeler. `weights`: points that each component costs when it is missing."""

    kind: ClassVar[str] = "simulated"

    name: str
    gold: Gold
    weights: dict[str, float]
    seed: int = 0
    noise: float = NOISE
    mistakes: float = MISTAKES
    tie_width: float = TIE_WIDTH

    def utility(self, prompt: Prompt, completion: str) -> float:
        """How good this labeler finds the completion, noise and mistakes included; not bounded."""
        components = self.gold.assess(prompt, completion).components
        score = score_of(components, self.weights)
        if self._chance(prompt, completion, "mistake") < self.mistakes:
            score = MAX_SCORE - score
        return score + self.noise * NormalDist().inv_cdf(self._chance(prompt, completion, "noise"))

    def rank(self, prompt: Prompt, completions: Sequence[str]) -> tuple[int, ...]:
        """1 is best; completions whose utilities fall into the same step are tied."""
        return ranks_of_scores([self.utility(prompt, c) for c in completions], self.tie_width)

    def rate(self, prompt: Prompt, completion: str) -> Rating:
        """Likert 1-7 from the utility, and the paper's flags as this labeler notices them."""
        components = self.gold.assess(prompt, completion).components
        share = self.utility(prompt, completion) / MAX_SCORE
        flags = {
            "fails_task": components["correct"] < 1.0,
            "inappropriate": components["polite"] < 1.0,
            "hallucination": components["supported"] < 1.0,
        }
        if prompt.meta["constraint"] is not None:
            flags["satisfies_constraint"] = components["constraint"] == 1.0
        return Rating(min(7, max(1, 1 + round(6 * share))), flags)

    def _chance(self, prompt: Prompt, completion: str, what: str) -> float:
        """A uniform number in (0, 1) that belongs to this labeler, this text and this purpose."""
        text = f"{self.seed}\0{self.name}\0{what}\0{prompt.key}\0{completion}"
        digest = hashlib.sha256(text.encode()).digest()
        return (int.from_bytes(digest[:8], "big") + 0.5) / 2**64


def hire_labelers(gold: Gold, count: int, seed: int) -> list[SimulatedLabeler]:
    """`count` labelers with tastes of their own around the gold weights."""
    rng = random.Random(f"labelers:{seed}")
    return [
        SimulatedLabeler(
            f"labeler-{number}",
            gold,
            {name: w * math.exp(TASTE * rng.gauss(0, 1)) for name, w in PENALTIES.items()},
            seed,
        )
        for number in range(1, count + 1)
    ]


def other_labeler(gold: Gold, seed: int) -> SimulatedLabeler:
    """A labeler whose rule is never trained on: for the test of generalisation."""
    return SimulatedLabeler("held-out-labeler", gold, OTHER_RULE, seed)
