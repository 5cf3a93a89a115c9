"""Settings of stage `reward_model`: a scalar trained on K-way rankings (paper section 3.5, C.2)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from instructgpt.config.adapter import AdapterConfig, check_adapter, refuse_soft_prompt
from instructgpt.config.shared import OptimConfig, TrainConfig


class RewardModelConfig(TrainConfig):
    """Train a reward model on rankings; pairs are rankings with K = 2."""

    model: str
    """Model whose backbone starts the reward model (paper 3.5: the SFT model)."""
    rankings: str
    """Training rankings."""
    rankings_heldout: str
    """Rankings of other prompts, for accuracy."""
    rankings_other_labeler: str | None = None
    """Rankings by a labeler whose rule was never trained on, for the generalisation test."""
    demonstrations: str | None = None
    """Demonstrations whose mean score becomes 0 (paper 3.5); default: no bias is set."""
    demonstrations_limit: int = Field(default=1000, gt=0)
    """How many of them are scored for that."""
    chat_template: str | None = None
    """Template for a model that has none."""
    epochs: int = Field(default=1, gt=0)
    """Passes over the rankings (paper: 1; more overfits)."""
    batch_size: int = Field(default=64, gt=0)
    """Prompts per optimizer step, each with all its comparisons (paper: 64)."""
    normaliser: Literal["valid_pairs", "all_pairs"] = "valid_pairs"
    """What a prompt's summed pair losses are divided by: pairs without ties, or C(K,2)."""
    max_tokens: int | None = Field(default=None, gt=0)
    """Longer prompt + completion are dropped and counted; default: the model's context."""
    adapter: AdapterConfig = AdapterConfig()
    """LoRA instead of training every weight."""
    optim: OptimConfig = OptimConfig(lr=9e-6)
    """Paper C.2: 9e-6, cosine to 10 %."""

    @model_validator(mode="after")
    def _check(self) -> RewardModelConfig:
        refuse_soft_prompt(self.adapter)
        check_adapter(self.adapter, self.optim, compile=self.compile)
        return self
