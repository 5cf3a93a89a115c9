"""Settings of adapters: a few trained weights beside frozen ones, through peft."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from instructgpt.config.base import Config
from instructgpt.config.shared import OptimConfig

ALL_LINEAR = "all-linear"


class AdapterConfig(Config):
    """Which weights are trained: all of them, or a low-rank update of some (LoRA)."""

    type: Literal["none", "lora"] = "none"
    """none trains every weight; lora a low-rank update beside frozen ones (Hu et al. 2021)."""
    rank: int = Field(default=16, gt=0)
    """Rank of each update (Hu et al.: 1 to 64)."""
    alpha: float = Field(default=32.0, gt=0)
    """Updates are scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the update; not in PPO, whose policy must be deterministic."""
    target_modules: tuple[str, ...] = (ALL_LINEAR,)
    """Names of linear layers, or all-linear: every one but the output layer."""
    init: Literal["kaiming", "gaussian"] = "kaiming"
    """How A starts (Hu et al.: gaussian; peft: kaiming); B starts at 0."""

    @model_validator(mode="after")
    def _check(self) -> AdapterConfig:
        if self.type == "none":
            for name, field in type(self).model_fields.items():
                if getattr(self, name) != field.default:
                    raise ValueError(f"{name} is set, but type = none trains no adapter")
        return self


def check_adapter(adapter: AdapterConfig, *optims: OptimConfig) -> None:
    """Refuse what does not go together. Errors: ValueError, for a config's validator."""
    if adapter.type == "lora" and any(optim.optimizer == "muon" for optim in optims):
        raise ValueError(
            "muon is for whole weight matrices and an adapter has none; set optim.optimizer = adamw"
        )
