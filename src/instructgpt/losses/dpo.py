"""Preference losses without a reward model, on the same rankings.

Shapes: P pairs of completions of one prompt. A logprob here is a sum over the completion's
tokens including EOS. ``weight_P`` (see ``reward_model.ranking_pairs``) lets the pairs of a
K-way ranking share one prompt's weight; then ``num_pairs`` is the number of prompts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from instructgpt.losses.masked import Count
from instructgpt.losses.precision import at_least_float32


def dpo_loss(
    chosen_logprobs_P: Tensor,
    rejected_logprobs_P: Tensor,
    ref_chosen_logprobs_P: Tensor,
    ref_rejected_logprobs_P: Tensor,
    beta: float,
    num_pairs: Count,
    label_smoothing: float = 0.0,
    weight_P: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """-log sigma(beta h), h = chosen minus rejected log ratio (Rafailov et al. 2023, eq. 7).

    ``label_smoothing`` is the believed share of flipped labels (Mitchell 2023, conservative DPO).
    Metrics: see ``implicit_rewards``.
    """
    chosen_P = at_least_float32(chosen_logprobs_P) - at_least_float32(ref_chosen_logprobs_P)
    rejected_P = at_least_float32(rejected_logprobs_P) - at_least_float32(ref_rejected_logprobs_P)
    logits_P = beta * (chosen_P - rejected_P)
    right_P, flipped_P = -F.logsigmoid(logits_P), -F.logsigmoid(-logits_P)
    loss_P = (1 - label_smoothing) * right_P + label_smoothing * flipped_P
    weight_P = torch.ones_like(loss_P) if weight_P is None else weight_P
    loss = (loss_P * weight_P).sum() / num_pairs
    return loss, implicit_rewards(beta * chosen_P, beta * rejected_P, weight_P, num_pairs)


def ipo_loss(
    chosen_logprobs_P: Tensor,
    rejected_logprobs_P: Tensor,
    ref_chosen_logprobs_P: Tensor,
    ref_rejected_logprobs_P: Tensor,
    beta: float,
    num_pairs: Count,
    weight_P: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """(h - 1 / (2 beta))^2: sure labels do not push h to infinity (Azar et al. 2023, eq. 17).

    ``beta`` is the paper's tau. Metrics: see ``implicit_rewards``.
    """
    chosen_P = at_least_float32(chosen_logprobs_P) - at_least_float32(ref_chosen_logprobs_P)
    rejected_P = at_least_float32(rejected_logprobs_P) - at_least_float32(ref_rejected_logprobs_P)
    loss_P = (chosen_P - rejected_P - 1 / (2 * beta)).square()
    weight_P = torch.ones_like(loss_P) if weight_P is None else weight_P
    loss = (loss_P * weight_P).sum() / num_pairs
    return loss, implicit_rewards(beta * chosen_P, beta * rejected_P, weight_P, num_pairs)


@torch.no_grad()
def implicit_rewards(
    chosen_P: Tensor, rejected_P: Tensor, weight_P: Tensor, num_pairs: Count
) -> dict[str, Tensor]:
    """Weighted means of beta log(pi / pi_ref): ``chosen_reward``, ``rejected_reward``, ``margin``
    and ``accuracy`` (chosen strictly above rejected); 0-d, those of microbatches add up."""
    margin_P = chosen_P - rejected_P
    columns = {
        "chosen_reward": chosen_P,
        "rejected_reward": rejected_P,
        "margin": margin_P,
        "accuracy": (margin_P > 0).to(margin_P.dtype),
    }
    return {name: (x_P * weight_P).sum() / num_pairs for name, x_P in columns.items()}
