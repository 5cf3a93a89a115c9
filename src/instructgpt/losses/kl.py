"""Estimators of KL(policy || reference) from tokens that the policy sampled.

Shapes: B sequences, T positions. With d = log pi(token) - log pi_ref(token), the expectations
of k1 and k3 are the KL; k2 is biased, and has the smaller variance near 0 (Schulman 2020,
"Approximating KL divergence"). The per-token penalty of Ouyang et al. 2022, eq. 2, is k1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from instructgpt.losses.masked import Count, masked_sum
from instructgpt.losses.precision import LOG_RATIO_LIMIT, at_least_float32


def kl_k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """d: unbiased, may be negative at a token; same shape as the inputs."""
    return at_least_float32(logprobs) - at_least_float32(ref_logprobs)


def kl_k2(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """d^2 / 2: never negative, biased; same shape as the inputs."""
    return 0.5 * kl_k1(logprobs, ref_logprobs).square()


def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """exp(-d) - 1 + d: unbiased and never negative; same shape as the inputs."""
    d = kl_k1(logprobs, ref_logprobs)
    return torch.expm1((-d).clamp(max=LOG_RATIO_LIMIT)) + d


def sequence_kl(
    logprobs_BT: Tensor, ref_logprobs_BT: Tensor, mask_BT: Tensor, num_sequences: Count
) -> Tensor:
    """The KL that is reported: k1 summed over each completion, averaged over sequences; 0-d."""
    return masked_sum(kl_k1(logprobs_BT, ref_logprobs_BT), mask_BT) / num_sequences


def adapted_kl_coef(
    coef: float, kl: float, target: float, horizon: float, num_episodes: int
) -> float:
    """Next beta of the controller that steers ``sequence_kl`` to ``target`` (Ziegler et al. 2019).

    The proportional error is clipped to +-0.2, so that ``horizon`` episodes change beta by at
    most about 20 %.
    """
    error = min(max(kl / target - 1.0, -0.2), 0.2)
    return coef * (1.0 + error * num_episodes / horizon)
