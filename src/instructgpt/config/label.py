"""Settings of stage `label`: completions sampled and ranked by judges (paper section 3.4)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from instructgpt.config.base import Config
from instructgpt.config.shared import HardwareConfig, SamplingConfig


class LabelConfig(Config):
    """Sample K completions per prompt and have judges rank them blind."""

    seed: int = 0
    """Seed of sampling, K and the order in which completions are shown."""
    models: tuple[str, ...] = Field(min_length=1)
    """Models that answer; each prompt's completions are shared out among them in turn."""
    prompts: str
    """Prompts to answer."""
    num_prompts: int | None = Field(default=None, gt=0)
    """Use only the first this many prompts; default: all."""
    k_min: int = Field(default=4, ge=2, le=9)
    """Fewest completions sampled per prompt (paper: 4); identical ones count once."""
    k_max: int = Field(default=9, ge=2, le=9)
    """Most completions sampled per prompt (paper: 9)."""
    judge: Literal["simulated"] = "simulated"
    """Who ranks: the microworld's simulated labelers."""
    world: str | None = None
    """The microworld's run directory, for simulated labelers."""
    num_labelers: int = Field(default=6, ge=2)
    """Simulated labelers, each with tastes of their own."""
    overlap: float = Field(default=0.1, ge=0, le=1)
    """Share of prompts ranked by two labelers, to measure agreement (paper 5.3: most by one)."""
    heldout_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of prompts, by prompt, whose rankings never train the reward model."""
    also: tuple[str, ...] = ()
    """Earlier label stages whose training rankings are added to this one's (a second round)."""
    sampling: SamplingConfig = SamplingConfig()
    """How completions are drawn."""
    hardware: HardwareConfig = HardwareConfig()
    """Device and dtype."""

    @model_validator(mode="after")
    def _check(self) -> LabelConfig:
        if self.k_max < self.k_min:
            raise ValueError(f"k_max {self.k_max} is below k_min {self.k_min}")
        if self.judge == "simulated" and self.world is None:
            raise ValueError("judge = simulated needs world")
        return self
