"""How far a policy has moved from its reference, measured on the policy's own samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from instructgpt.distributed.world import World
from instructgpt.models.batch import TokenBatch, ask_by_length
from instructgpt.models.causal_lm import CausalLM
from instructgpt.rollout.types import Rollout


@torch.no_grad()
def sequence_log_ratios(
    policy: CausalLM,
    reference: CausalLM,
    rollouts: Sequence[Rollout],
    temperature: float,
    *,
    max_tokens: int,
    world: World,
) -> list[float]:
    """Per completion, the sum over its tokens of log pi - log pi_reference, in nats.

    Their mean over completions sampled from `policy` estimates KL(policy || reference) per answer
    (Stiennon et al. 2020); a single one may be negative. Both models read the same token ids.
    """
    policy.model.eval()
    reference.model.eval()
    lengths = [len(r.prompt_ids) + len(r.completion_ids) for r in rollouts]

    def ask(group: list[int]) -> list[float]:
        batch = TokenBatch.from_completions(
            [rollouts[i].prompt_ids for i in group],
            [rollouts[i].completion_ids for i in group],
            policy.pad_id,
            policy.device,
        )
        gap_BT = policy.logprobs(batch, temperature) - reference.logprobs(batch, temperature)
        return gap_BT.sum(dim=1).tolist()

    return ask_by_length(ask, lengths, max_tokens, policy.passes, world)
