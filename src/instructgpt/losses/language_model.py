"""The loss of pretraining, of SFT, and of the pretraining term of PPO-ptx.

Shapes: B rows, T positions.
"""

from __future__ import annotations

from torch import Tensor

from instructgpt.losses.masked import Count, masked_sum


def language_model_loss(logprobs_BT: Tensor, mask_BT: Tensor, num_tokens: Count) -> Tensor:
    """Mean negative log-likelihood of the counted tokens in nats per token; 0-d.

    ``num_tokens`` is the count over all microbatches and processes of the step. The third term
    of Ouyang et al. 2022, eq. 2, gamma E[log pi(x)], enters the PPO-ptx loss as gamma times this.
    """
    return -masked_sum(logprobs_BT, mask_BT) / num_tokens
