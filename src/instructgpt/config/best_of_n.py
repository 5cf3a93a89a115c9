"""Settings of stage `best_of_n`: sample n completions, keep the one with the highest score."""

from __future__ import annotations

from pydantic import Field

from instructgpt.config.base import Config
from instructgpt.config.shared import HardwareConfig, SamplingConfig


class BestOfNConfig(Config):
    """Best-of-n (rejection) sampling against a reward model."""

    seed: int = 0
    """Seed of sampling."""
    model: str
    """Model that answers."""
    reward_model: str
    """Reward model that chooses."""
    prompts: str
    """Prompts to answer."""
    num_prompts: int | None = Field(default=None, gt=0)
    """Use only the first this many prompts; default: all."""
    n: int = Field(default=16, ge=1)
    """Completions per prompt."""
    sampling: SamplingConfig = SamplingConfig()
    """How completions are drawn."""
    hardware: HardwareConfig = HardwareConfig()
    """Device and dtype."""
