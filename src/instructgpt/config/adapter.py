"""Settings of adapters: a few trained weights beside frozen ones, through peft."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from instructgpt.config.base import Config
from instructgpt.config.shared import OptimConfig

ALL_LINEAR = "all-linear"

_BELONGS_TO = {
    **dict.fromkeys(("rank", "alpha", "dropout", "target_modules", "init"), "lora"),
    **dict.fromkeys(("virtual_tokens", "instruction", "tasks"), "soft_prompt"),
}
_TASK = re.compile(r"[\w-]+")  # it names a directory


class AdapterConfig(Config):
    """Which weights are trained: all, a low-rank update of some (LoRA), or a soft prompt's."""

    type: Literal["none", "lora", "soft_prompt"] = "none"
    """none: every weight; lora (Hu et al. 2021); soft_prompt: in sft only (Lester et al. 2021)."""
    rank: int = Field(default=16, gt=0)
    """lora: rank of each update (Hu et al.: 1 to 64)."""
    alpha: float = Field(default=32.0, gt=0)
    """lora: updates are scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """lora: dropout before the update; not in PPO, whose policy must be deterministic."""
    target_modules: tuple[str, ...] = (ALL_LINEAR,)
    """lora: names of linear layers, or all-linear: every one but the output layer."""
    init: Literal["kaiming", "gaussian"] = "kaiming"
    """lora: how A starts (Hu et al.: gaussian; peft: kaiming); B starts at 0."""
    virtual_tokens: int = Field(default=20, gt=0)
    """soft_prompt: trained embeddings before a conversation (Lester et al.: 20 to 100)."""
    instruction: str = ""
    """soft_prompt: text whose embedding it starts from; default: that of random tokens."""
    tasks: dict[str, str] = Field(default_factory=dict)
    """soft_prompt: one for each task that records name, and its instruction ("": random)."""

    @model_validator(mode="after")
    def _check(self) -> AdapterConfig:
        for name, owner in _BELONGS_TO.items():
            default = type(self).model_fields[name].get_default(call_default_factory=True)
            if owner == self.type or getattr(self, name) == default:
                continue
            if self.type == "none":
                raise ValueError(f"{name} is set, but type = none trains no adapter")
            raise ValueError(f"{name} is set, but it belongs to type = {owner}")
        if self.instruction and self.tasks:
            raise ValueError("instruction starts the one soft prompt for everything; leave it out, "
                             "or leave tasks out")  # fmt: skip
        for task in self.tasks:
            if not _TASK.fullmatch(task):
                raise ValueError(f"task '{task}': use letters, digits, _ and -")
        return self


def check_adapter(adapter: AdapterConfig, *optims: OptimConfig, compile: bool) -> None:
    """Refuse what does not go together. Errors: ValueError, for a config's validator."""
    if adapter.type != "none" and compile:
        raise ValueError("compile is for full fine-tuning; set compile = false with an adapter")
    if adapter.type != "none" and any(optim.optimizer == "muon" for optim in optims):
        raise ValueError(
            "muon is for whole weight matrices and an adapter has none; set optim.optimizer = adamw"
        )


def refuse_soft_prompt(adapter: AdapterConfig) -> None:
    """For the stages that need a model of their own. Errors: ValueError."""
    if adapter.type == "soft_prompt":
        raise ValueError("adapter.type = soft_prompt is for sft; set it to lora or none here")
