"""Settings of stage `evaluate`: every model on the same held-out prompts, against one reference."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from instructgpt.config.base import Config
from instructgpt.config.judges import JudgeConfig, SimulatedJudgeConfig
from instructgpt.config.shared import HardwareConfig, SamplingConfig

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class BestOfNEntry(Config):
    """A model that answers n times and lets a reward model choose."""

    model: str
    """Model that answers."""
    reward_model: str
    """Reward model that chooses."""
    n: int = Field(default=16, ge=2)
    """Completions per prompt."""


class EvaluateConfig(Config):
    """Win rates, task metrics, reward, KL, length and pretraining loss of several models."""

    seed: int = 0
    """Seed of sampling; every model and condition draws numbers of its own."""
    models: dict[str, str | BestOfNEntry] = Field(min_length=1)
    """Name of each model -> its directory, or {model, reward_model, n} for best-of-n."""
    reference: str = "sft"
    """Name of the model that the others are compared with (the paper: SFT)."""
    prompts: str
    """Held-out prompts; their meta may say task, language, phrasing_held_out, fact_held_out."""
    num_prompts: int | None = Field(default=None, gt=0)
    """Use only the first this many prompts; default: all."""
    training_files: tuple[str, ...] = ()
    """What training drew prompts from, in any form; evaluation prompts found there are left out."""
    chat_template: str | None = None
    """Template for models that have none: compact, chatml, alpaca or plain."""
    sampling: SamplingConfig = SamplingConfig()
    """Length, and the temperature of the sampled condition; every model also answers greedily."""
    control_temperatures: tuple[float, ...] = (0.7,)
    """Temperatures at which the reference answers too, to tell a gain from mere sharpening."""
    gold: Literal["microworld"] | None = None
    """The world's own score of completions; default: none is known (real data)."""
    world: str | None = None
    """The microworld's run directory or its world.json; needed for gold = microworld."""
    reward_model: str | None = None
    """Reward model whose scores are reported; decides win rates when there is no better judge."""
    judge_reward_model: str | None = None
    """A reward model that no policy was trained against; without gold it decides win rates."""
    judges: tuple[JudgeConfig, ...] = ()
    """Judges who compare answers, as those of `label` do; the first decides win rates."""
    demonstrations: str | None = None
    """Demonstrations of evaluation prompts, whose completions serve as reference texts."""
    documents_heldout: str | None = None
    """Held-out pretraining documents, for the alignment tax."""
    row_tokens: int = Field(default=128, gt=1)
    """Most tokens of a row of those documents; use the one of pretraining."""
    ppo_runs: dict[str, str] = Field(default_factory=dict)
    """Name -> PPO run directory whose samples/ show proxy and gold over KL (needs gold)."""
    hardware: HardwareConfig = HardwareConfig()
    """Device, dtype and memory."""

    @model_validator(mode="after")
    def _check(self) -> EvaluateConfig:
        for name in [*self.models, *self.ppo_runs]:
            if not _NAME.fullmatch(name):
                raise ValueError(f"model name '{name}': use letters, digits, dots, dashes")
        if not isinstance(self.models.get(self.reference), str):
            raise ValueError(
                f"reference '{self.reference}' is not one of models with a directory "
                f"({', '.join(self.models)})"
            )
        if (self.gold == "microworld") != (self.world is not None):
            raise ValueError("gold = microworld and world go together")
        scored = (self.gold, self.reward_model, self.judge_reward_model)
        if not self.judges and all(score is None for score in scored):
            raise ValueError("nobody judges: set gold, judges, reward_model or judge_reward_model")
        simulated = [isinstance(judge, SimulatedJudgeConfig) for judge in self.judges]
        if any(simulated) and self.world is None:
            raise ValueError("simulated judges need gold = microworld and world")
        if self.gold is None and self.ppo_runs:
            raise ValueError("ppo_runs need gold: the curve is gold against proxy")
        if self.sampling.temperature == 0:
            raise ValueError("sampling.temperature 0 is the greedy condition; give one above 0")
        if min(self.control_temperatures, default=1.0) <= 0:
            raise ValueError("control_temperatures must be above 0; greedy is always evaluated")
        return self
