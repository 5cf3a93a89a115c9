"""From one score per completion to an advantage per token.

Shapes: B completions, T positions; ``mask_BT`` is True on completion tokens including EOS, with
the prompt before them and padding after.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from instructgpt.losses.precision import at_least_float32

MissingEosRule = Literal["none", "fixed", "penalty"]


def apply_missing_eos(
    score_B: Tensor, has_eos_B: Tensor, rule: MissingEosRule, value: float
) -> Tensor:
    """Score completions that were cut off before EOS by a rule instead of by the reward model.

    "none": keep the score. "fixed": the score becomes ``value`` (Ziegler et al. 2019: -1).
    "penalty": ``value`` is subtracted, which keeps its meaning when scores drift away from 0.
    The InstructGPT paper states no rule.
    """
    score_B = at_least_float32(score_B)
    match rule:
        case "none":
            return score_B
        case "fixed":
            return torch.where(has_eos_B, score_B, value)
        case "penalty":
            return torch.where(has_eos_B, score_B, score_B - value)
    raise ValueError(f"unknown rule {rule!r}, expected 'none', 'fixed' or 'penalty'")


def shape_rewards(score_B: Tensor, kl_BT: Tensor, mask_BT: Tensor, beta: float) -> Tensor:
    """Per-token rewards of Ouyang et al. 2022, eq. 2: rewards_BT, 0 outside the mask.

    Every completion token pays -beta * KL; the score arrives once, on the last one (EOS, or the
    token where generation was cut). Hence sum_t rewards = score - beta * sum_t KL in every row.
    """
    rewards_BT = torch.where(mask_BT, -beta * at_least_float32(kl_BT), 0.0)
    last_B1 = last_position(mask_BT).unsqueeze(1)
    return rewards_BT.scatter_add(1, last_B1, score_B.unsqueeze(1).to(rewards_BT.dtype))


def last_position(mask_BT: Tensor) -> Tensor:
    """Index of the last True of each row, position_B; a row without one is an error."""
    if not bool(mask_BT.any(dim=1).all()):
        raise ValueError("a row of the mask counts no token: its score would have no place")
    positions_T = torch.arange(mask_BT.shape[1], device=mask_BT.device)
    return torch.where(mask_BT, positions_T, -1).amax(dim=1)


def gae(
    rewards_BT: Tensor, values_BT: Tensor, mask_BT: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation: (advantages_BT, returns_BT), both 0 outside the mask.

    delta_t = r_t + gamma V_{t+1} - V_t and A_t = delta_t + gamma lam A_{t+1} (Schulman et al.
    2016, eqs. 12 and 16), with V = A = 0 after the last completion token: an episode ends there,
    also where generation was cut. Returns are A + V, the target of the critic.
    """
    rewards_BT, values_BT = at_least_float32(rewards_BT), at_least_float32(values_BT)
    next_value_B = next_advantage_B = torch.zeros_like(values_BT[:, 0])
    advantages: list[Tensor] = []
    for t in reversed(range(values_BT.shape[1])):
        counts_B, value_B = mask_BT[:, t], values_BT[:, t]
        delta_B = rewards_BT[:, t] + gamma * next_value_B - value_B
        advantage_B = delta_B + gamma * lam * next_advantage_B
        advantages.append(torch.where(counts_B, advantage_B, 0.0))
        next_advantage_B = torch.where(counts_B, advantage_B, next_advantage_B)
        next_value_B = torch.where(counts_B, value_B, next_value_B)
    advantages_BT = torch.stack(advantages[::-1], dim=1)
    return advantages_BT, torch.where(mask_BT, advantages_BT + values_BT, 0.0)
