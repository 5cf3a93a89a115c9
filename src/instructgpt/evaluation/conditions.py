"""The conditions under which a model answers: sampled, greedy, and the reference's controls."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from instructgpt.config.shared import SamplingConfig
from instructgpt.rollout.types import SamplingParams

SAMPLED = "sampled"
GREEDY = "greedy"
RESAMPLED = "resampled"


@dataclass(frozen=True, slots=True)
class Condition:
    """A name and the temperature that goes with it; 0 is greedy."""

    name: str
    temperature: float

    def params(self, config: SamplingConfig, model: str, seed: int) -> SamplingParams:
        """Sampling parameters; every model and condition draws its own random numbers.

        Two models with common random numbers would tie more often than two independent people
        asking them, and the win rate would mean something else.
        """
        own = zlib.crc32(f"{seed}/{model}/{self.name}".encode())
        return SamplingParams(
            max_new_tokens=config.max_new_tokens, temperature=self.temperature, seed=own
        )


def model_conditions(temperature: float) -> list[Condition]:
    """What every model does."""
    return [Condition(SAMPLED, temperature), Condition(GREEDY, 0.0)]


def control_conditions(temperature: float, controls: tuple[float, ...]) -> list[Condition]:
    """What the reference does besides: a second draw, and lower temperatures.

    The second draw shows what a win rate of no difference looks like; the lower temperatures show
    how far mere sharpening goes.
    """
    lowered = [Condition(f"temperature-{t:g}", t) for t in controls]
    return [Condition(RESAMPLED, temperature), *lowered]
