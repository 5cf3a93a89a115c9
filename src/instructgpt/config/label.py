"""Settings of stage `label`: completions sampled and ranked by judges (paper section 3.4)."""

from __future__ import annotations

from pydantic import Field, model_validator

from instructgpt.config.base import Config
from instructgpt.config.judges import JudgeConfig, SimulatedJudgeConfig
from instructgpt.config.shared import HardwareConfig, SamplingConfig


class TaskConfig(Config):
    """How what is to be ranked is sampled."""

    models: tuple[str, ...] = ()
    """Models that answer; each prompt's completions are shared out among them in turn."""
    k_min: int = Field(default=4, ge=2, le=9)
    """Fewest completions sampled per prompt (paper: 4); identical ones count once."""
    k_max: int = Field(default=9, ge=2, le=9)
    """Most completions sampled per prompt (paper: 9)."""
    sampling: SamplingConfig = SamplingConfig()
    """How completions are drawn."""
    hardware: HardwareConfig = HardwareConfig()
    """Device and dtype."""

    @model_validator(mode="after")
    def _check_k(self) -> TaskConfig:
        if self.k_max < self.k_min:
            raise ValueError(f"k_max {self.k_max} is below k_min {self.k_min}")
        return self


class LabelConfig(TaskConfig):
    """Sample K completions per prompt and have judges rank them blind."""

    seed: int = 0
    """Seed of sampling, K and the order in which completions are shown."""
    prompts: str | None = None
    """Prompts to answer."""
    people: str | None = None
    """Rankings by people, instead of models and prompts; judges rank `overlap` of them again."""
    num_prompts: int | None = Field(default=None, gt=0)
    """Use only the first this many prompts; default: all."""
    judges: tuple[JudgeConfig, ...] = (SimulatedJudgeConfig(),)
    """Who ranks: any mixture of types simulated, ai and reward_model."""
    world: str | None = None
    """The microworld's run directory, for simulated labelers."""
    overlap: float = Field(default=0.1, ge=0, le=1)
    """Share of prompts ranked by two judges, to measure agreement (paper 5.3: most by one)."""
    heldout_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of prompts, by prompt, whose rankings never train the reward model."""
    also: tuple[str, ...] = ()
    """Earlier label stages whose training rankings are added to this one's (a second round)."""

    @model_validator(mode="after")
    def _check(self) -> LabelConfig:
        if self.people is None and not (self.models and self.prompts):
            raise ValueError("give models and prompts to sample, or rankings by `people`")
        if self.people is not None and (self.models or self.prompts):
            raise ValueError("`people` brings prompts and completions; leave models and prompts")
        if not self.judges:
            raise ValueError("judges: name at least one")
        simulated = [j for j in self.judges if isinstance(j, SimulatedJudgeConfig)]
        if simulated and self.world is None:
            raise ValueError("simulated judges need world")
        if len(simulated) > 1:
            raise ValueError("judges: give simulated labelers once, with their count")
        alone = len(self.judges) == 1 and (not simulated or simulated[0].count == 1)
        if self.people is None and alone and self.overlap > 0:
            raise ValueError("one judge cannot overlap with another; set overlap to 0")
        return self
