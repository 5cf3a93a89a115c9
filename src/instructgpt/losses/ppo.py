"""The clipped losses of proximal policy optimisation (Schulman et al. 2017).

Shapes: B completions, T positions; ``mask_BT`` is True on completion tokens including EOS.
``num_tokens`` counts them over all microbatches and processes of the optimiser step. Metrics
are 0-d and detached; those of microbatches add up, except ``*_max``, where the largest holds.
"""

from __future__ import annotations

import torch
from torch import Tensor

from instructgpt.losses.masked import Count, masked_mean, masked_sum, masked_var
from instructgpt.losses.precision import LOG_RATIO_LIMIT, at_least_float32


def clipped_policy_loss(
    logprobs_BT: Tensor,
    old_logprobs_BT: Tensor,
    advantages_BT: Tensor,
    mask_BT: Tensor,
    clip: float,
    num_tokens: Count,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean over tokens of max(-A ratio, -A clip(ratio, 1 +- clip)), eq. 7 with its sign turned.

    The log ratio is cut at +-20 before exp, so that the loss stays finite whatever the inputs.
    Metrics: ``clip_fraction`` (tokens where the clipped term is strictly the larger),
    ``approx_kl`` (half the mean squared log ratio), ``ratio_mean``, ``ratio_max``.
    """
    log_ratio_BT = at_least_float32(logprobs_BT) - at_least_float32(old_logprobs_BT)
    log_ratio_BT = torch.where(mask_BT, log_ratio_BT, 0.0)
    advantages_BT = at_least_float32(advantages_BT)
    ratio_BT = log_ratio_BT.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
    unclipped_BT = -advantages_BT * ratio_BT
    clipped_BT = -advantages_BT * ratio_BT.clamp(1 - clip, 1 + clip)
    loss = masked_sum(torch.maximum(unclipped_BT, clipped_BT), mask_BT) / num_tokens
    with torch.no_grad():
        metrics = {
            "clip_fraction": masked_sum(clipped_BT > unclipped_BT, mask_BT) / num_tokens,
            "approx_kl": masked_sum(0.5 * log_ratio_BT.square(), mask_BT) / num_tokens,
            "ratio_mean": masked_sum(ratio_BT, mask_BT) / num_tokens,
            "ratio_max": torch.where(mask_BT, ratio_BT, 0.0).max(),
        }
    return loss, metrics


def clipped_value_loss(
    values_BT: Tensor,
    old_values_BT: Tensor,
    returns_BT: Tensor,
    mask_BT: Tensor,
    clip: float,
    num_tokens: Count,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean over tokens of 0.5 max((V - R)^2, (V_clipped - R)^2), V held within +-clip of the old V.

    InstructGPT does not state a value clip; this is the one of lm-human-preferences. Metric:
    ``value_clip_fraction`` (tokens where the clipped term is strictly the larger).
    """
    # Masked before the square, so that nan in padding cannot come back through its gradient.
    values_BT = torch.where(mask_BT, at_least_float32(values_BT), 0.0)
    old_values_BT = at_least_float32(old_values_BT)
    held_BT = torch.clamp(values_BT, old_values_BT - clip, old_values_BT + clip)
    unclipped_BT = (values_BT - returns_BT).square()
    clipped_BT = (held_BT - returns_BT).square()
    loss = masked_sum(0.5 * torch.maximum(unclipped_BT, clipped_BT), mask_BT) / num_tokens
    with torch.no_grad():
        clip_fraction = masked_sum(clipped_BT > unclipped_BT, mask_BT) / num_tokens
    return loss, {"value_clip_fraction": clip_fraction}


def explained_variance(values_BT: Tensor, returns_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """1 - mean squared error / variance of the returns; 0-d, 1 is perfect, 0 a constant guess.

    nan where the returns do not vary: there is nothing to explain.
    """
    error = masked_mean((at_least_float32(values_BT) - returns_BT).square(), mask_BT)
    variance = masked_var(returns_BT, mask_BT)
    return torch.where(variance > 0, 1 - error / variance, torch.nan)
