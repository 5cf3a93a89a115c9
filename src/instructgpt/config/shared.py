"""Settings that several stages share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from instructgpt.config.base import Config


class OptimConfig(Config):
    """The optimizer and its learning-rate schedule."""

    optimizer: Literal["adamw", "muon"] = "adamw"
    """adamw (the paper's Adam), or muon for hidden matrices with adamw for the rest."""
    lr: float = Field(gt=0)
    """Peak learning rate of adamw."""
    muon_lr: float = Field(default=0.02, gt=0)
    """Peak learning rate of muon's matrices; ignored unless optimizer is muon."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Adam's decay rates (paper appendix C)."""
    eps: float = Field(default=1e-8, gt=0)
    """Adam's epsilon; the paper is silent, this is PyTorch's."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay on matrices; the paper is silent."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Global gradient norm clip; the paper is silent."""
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    """Shape after the warmup; the paper uses cosine for SFT and RM, constant for PPO."""
    final_lr_ratio: float = Field(default=0.1, ge=0, le=1)
    """Where cosine and linear end, as a share of the peak (paper C.1: 0.1)."""
    warmup_steps: int = Field(default=0, ge=0)
    """Linear warmup length; the paper's SFT has none."""
    warmup_start_ratio: float = Field(default=0.1, ge=0, le=1)
    """Where the warmup starts, as a share of the peak (paper C.4: 0.1)."""


class HardwareConfig(Config):
    """Where and how the arithmetic runs; results differ by rounding only."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Computing type; auto takes bfloat16 where the hardware has it. Weights stay float32."""
    tokens_per_microbatch: int = Field(default=4096, gt=0)
    """Tokens that share one forward pass, padding included; lower it when memory runs out."""


class TrainConfig(Config):
    """What every training stage has."""

    seed: int = 0
    """Seed of data order, initialisation and sampling."""
    hardware: HardwareConfig = HardwareConfig()
    """Device, dtype and memory."""
    compile: bool = False
    """Compile the model's blocks: on a GPU large models train faster, after some 20 seconds."""
    checkpoint_every: int = Field(default=100, gt=0)
    """Steps between checkpoints."""
    eval_every: int = Field(default=100, gt=0)
    """Steps between evaluations on held-out data; the last step always evaluates."""


class SamplingConfig(Config):
    """How completions are drawn."""

    max_new_tokens: int = Field(default=64, gt=0)
    """Longest completion, EOS included (the paper allows 1,000)."""
    temperature: float = Field(default=1.0, ge=0)
    """1 for rollouts (paper C.4); 0 is greedy."""
    max_slots: int = Field(default=128, gt=0)
    """Sequences that decode together; changes speed and memory only."""
