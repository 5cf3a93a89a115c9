"""The gold score as evaluation sees it: a verdict on one completion by a world that knows better.

Only evaluation and simulated labelers may ask for it; no stage that trains can.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from instructgpt.data.records import Prompt


@dataclass(frozen=True, slots=True)
class GoldVerdict:
    """What the world thinks of a completion.

    `ok`: every component perfect. `correct`: the answer itself is right, whatever else is wrong.
    `classes`: class name -> (the completion claims it, the prompt asks for it).
    """

    score: float
    ok: bool
    correct: bool
    components: dict[str, float]
    classes: dict[str, tuple[bool, bool]]

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "score": self.score,
            "ok": self.ok,
            "correct": self.correct,
            "components": self.components,
            "classes": {name: list(pair) for name, pair in self.classes.items()},
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> GoldVerdict:
        """Read `to_dict`'s form."""
        classes = {name: (claims, asks) for name, (claims, asks) in data["classes"].items()}
        return cls(data["score"], data["ok"], data["correct"], data["components"], classes)


class GoldJudge(Protocol):
    """Gives the gold verdict on a completion."""

    def assess(self, prompt: Prompt, completion: str) -> GoldVerdict:
        """Judge one completion of `prompt`."""


class MicroworldGold:
    """The microworld's gold score."""

    def __init__(self, path: str | Path) -> None:
        """Load the world at `path`: world.json, or a run directory that holds one."""
        from instructgpt.microworld.gold import Gold
        from instructgpt.microworld.world import World

        self.gold = Gold(World.read(path))

    def assess(self, prompt: Prompt, completion: str) -> GoldVerdict:
        """Judge one completion. Errors: DataError for a prompt that is not the microworld's."""
        found = self.gold.assess(prompt, completion)
        unknown = (found.claims_unknown, "unknown" in prompt.meta["gold"])
        return GoldVerdict(
            found.score,
            found.ok,
            found.components["correct"] == 1.0,
            dict(found.components),
            {"says_unknown": unknown},
        )
