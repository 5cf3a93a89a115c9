"""How well scores order what labelers ranked: accuracy with interval, by margin and by length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from instructgpt.judging.intervals import proportion_interval
from instructgpt.training.examples import TokenRanking


@dataclass(frozen=True, slots=True)
class _Pair:
    prompt: int
    margin: float
    rank_gap: int
    longer_wins: bool | None  # None: equally long

    @property
    def right(self) -> bool:
        return self.margin > 0  # equal scores order nothing


@dataclass(frozen=True, slots=True)
class RankingAccuracy:
    """Over all untied pairs of some rankings: did the preferred completion score higher?"""

    pairs: tuple[_Pair, ...]
    num_ties: int

    @classmethod
    def measure(cls, rankings: Sequence[TokenRanking], scores: Sequence[float]) -> RankingAccuracy:
        """`scores` are those of all completions of all rankings, flattened in order."""
        pairs: list[_Pair] = []
        first = ties = 0
        for prompt, ranking in enumerate(rankings):
            lengths = [sum(mask) for _, mask in ranking.sequences]
            for a, b in combinations(range(len(ranking.ranks)), 2):
                gap = ranking.ranks[b] - ranking.ranks[a]
                if gap == 0:
                    ties += 1
                    continue
                best, worst = (a, b) if gap > 0 else (b, a)
                longer = None
                if lengths[best] != lengths[worst]:
                    longer = lengths[best] > lengths[worst]
                margin = scores[first + best] - scores[first + worst]
                pairs.append(_Pair(prompt, margin, abs(gap), longer))
            first += len(ranking.ranks)
        return cls(tuple(pairs), ties)

    @property
    def accuracy(self) -> float:
        """Share of pairs ordered strictly right."""
        return sum(p.right for p in self.pairs) / len(self.pairs)

    def as_dict(self) -> dict[str, Any]:
        """Accuracy with a 95 % interval clustered by prompt, and where it comes from."""
        return {
            **self._rate(self.pairs),
            "ties_dropped": self.num_ties,
            "by_rank_gap": self._by("rank_gap", [(1, 1), (2, 2), (3, 99)]),
            "by_margin": self._by_margin(),
            "by_length": {
                "longer_preferred": self._rate([p for p in self.pairs if p.longer_wins is True]),
                "shorter_preferred": self._rate([p for p in self.pairs if p.longer_wins is False]),
            },
        }

    def _by(self, field: str, ranges: list[tuple[int, int]]) -> dict[str, Any]:
        return {
            (f"{low}" if low == high else f"{low}+"): self._rate(
                [p for p in self.pairs if low <= getattr(p, field) <= high]
            )
            for low, high in ranges
        }

    def _by_margin(self) -> dict[str, Any]:
        """Accuracy in quarters of |score gap|: a calibrated model errs where it is unsure."""
        ordered = sorted(self.pairs, key=lambda p: abs(p.margin))
        cuts = [round(len(ordered) * q / 4) for q in range(5)]
        return {f"quarter_{q + 1}": self._rate(ordered[cuts[q] : cuts[q + 1]]) for q in range(4)}

    @staticmethod
    def _rate(pairs: Sequence[_Pair]) -> dict[str, float | int | None]:
        if not pairs:
            return {"accuracy": None, "low": None, "high": None, "pairs": 0, "prompts": 0}
        interval = proportion_interval([float(p.right) for p in pairs], [p.prompt for p in pairs])
        return {
            "accuracy": interval.value,
            "low": interval.low,
            "high": interval.high,
            "pairs": len(pairs),
            "prompts": interval.n,
        }
