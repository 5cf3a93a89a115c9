"""Settings of stage `dpo`: direct preference optimisation on the same rankings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from instructgpt.config.adapter import AdapterConfig, check_adapter, refuse_soft_prompt
from instructgpt.config.shared import OptimConfig, TrainConfig


class DPOConfig(TrainConfig):
    """DPO (Rafailov et al. 2023) over all pairs of each ranking."""

    model: str
    """Policy to start from; a frozen copy is the reference."""
    rankings: str
    """Training rankings; pairs are K = 2."""
    rankings_heldout: str | None = None
    """Rankings of other prompts, for the implicit reward's accuracy."""
    chat_template: str | None = None
    """Template for a model that has none."""
    epochs: int = Field(default=1, gt=0)
    """Passes over the rankings."""
    batch_size: int = Field(default=32, gt=0)
    """Prompts per optimizer step, each with all its comparisons."""
    beta: float = Field(default=0.1, gt=0)
    """Strength of the pull to the reference (the DPO paper: 0.1)."""
    loss: Literal["sigmoid", "ipo"] = "sigmoid"
    """DPO's loss, or IPO's squared one (Azar et al. 2023)."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Assumed share of flipped labels (conservative DPO); sigmoid only."""
    max_tokens: int | None = Field(default=None, gt=0)
    """Longer prompt + completion are dropped and counted; default: the model's context."""
    adapter: AdapterConfig = AdapterConfig()
    """LoRA instead of training every weight."""
    optim: OptimConfig = OptimConfig(lr=5e-7, schedule="linear", final_lr_ratio=0.0)
    """Common in later practice; the DPO paper used RMSprop at 1e-6 with 150 warmup steps."""

    @model_validator(mode="after")
    def _check(self) -> DPOConfig:
        if self.loss == "ipo" and self.label_smoothing:
            raise ValueError("label_smoothing applies to loss sigmoid only; ipo has none")
        refuse_soft_prompt(self.adapter)
        check_adapter(self.adapter, self.optim, compile=self.compile)
        return self
