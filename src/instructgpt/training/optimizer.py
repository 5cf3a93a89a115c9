"""Optimizers with resumable state, and learning-rate schedules as plain functions of the step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from instructgpt.config.shared import OptimConfig


def lr_factor(step: int, total: int, config: OptimConfig) -> float:
    """The share of the peak learning rate at `step` of `total` (0-based).

    Linear warmup from `warmup_start_ratio`, then constant, or cosine/linear down to
    `final_lr_ratio`, which is reached at `step == total` (paper C.1: cosine to 10 %).
    """
    if step < config.warmup_steps:
        share = step / config.warmup_steps
        return config.warmup_start_ratio + (1 - config.warmup_start_ratio) * share
    if config.schedule == "constant":
        return 1.0
    span = max(1, total - config.warmup_steps)
    done = min(1.0, (step - config.warmup_steps) / span)
    fall = done if config.schedule == "linear" else (1 - math.cos(math.pi * done)) / 2
    return 1.0 - (1.0 - config.final_lr_ratio) * fall


class Optimizer:
    """AdamW, or Muon on hidden matrices with AdamW on everything else.

    Parameter groups: matrices decay, vectors do not. `step(factor)` scales every group's peak
    learning rate by `factor`.
    """

    def __init__(self, model: nn.Module, config: OptimConfig) -> None:
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.parameters = [p for _, p in named]
        muon = [p for name, p in named if config.optimizer == "muon" and _is_hidden(name, p)]
        taken = {id(p) for p in muon}
        rest = [p for _, p in named if id(p) not in taken]
        groups = [
            {"params": [p for p in rest if p.ndim >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
        ]
        self._parts: list[tuple[torch.optim.Optimizer, float]] = [
            (
                torch.optim.AdamW(
                    [g for g in groups if g["params"]],
                    lr=config.lr,
                    betas=config.betas,
                    eps=config.eps,
                    fused=True,
                ),
                config.lr,
            )
        ]
        if muon:
            part = torch.optim.Muon(muon, lr=config.muon_lr, weight_decay=config.weight_decay)
            self._parts.append((part, config.muon_lr))

    def step(self, factor: float) -> None:
        """Update the parameters from their gradients, which are then cleared."""
        for part, peak in self._parts:
            for group in part.param_groups:
                group["lr"] = peak * factor
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part, _ in self._parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for (part, _), saved in zip(self._parts, state["parts"], strict=True):
            part.load_state_dict(saved)


def _is_hidden(name: str, parameter: Tensor) -> bool:
    """Muon is for matrices inside the blocks: not embeddings, positions or output layers."""
    return parameter.ndim == 2 and not any(
        key in name for key in ("embed", "wte", "wpe", "lm_head", "score")
    )


class MovingAverage:
    """Exponential moving average of parameters (paper C.4: decay 0.992), kept in float32.

    With a decay of 0 it is the parameters themselves, and no copy of them is kept.
    """

    def __init__(self, parameters: Iterable[Tensor], decay: float) -> None:
        self.decay = decay
        self.parameters = list(parameters) if decay else []
        self.average = [p.detach().float().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """average = decay * average + (1 - decay) * parameters."""
        for average, parameter in zip(self.average, self.parameters, strict=True):
            average.lerp_(parameter.float(), 1 - self.decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange average and parameters; call it twice to undo it."""
        for average, parameter in zip(self.average, self.parameters, strict=True):
            current = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(current)

    def state_dict(self) -> dict[str, Any]:
        return {"average": self.average}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        for average, saved in zip(self.average, state["average"], strict=True):
            average.copy_(saved)
