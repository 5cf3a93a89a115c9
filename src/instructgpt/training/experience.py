"""What one PPO iteration learns from: sampled completions and everything known about them.

Shapes: B episodes, T positions. Position t describes token t; the mask is True on completion
tokens including EOS.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from instructgpt.models.batch import Passes, TokenBatch, token_budget_batches
from instructgpt.rollout.types import Rollout


@dataclass(slots=True)
class Experience:
    """One iteration's episodes. Fields are filled in the order in which they are computed.

    `old_logprobs_BT`, `ref_logprobs_BT`: of the policy when it sampled, and of the reference.
    `rollout_logprobs_BT`: as the engine reported them; equal to the old ones but for rounding.
    `values_BT`: the critic before each token. `score_B`: the reward model's verdict.
    """

    tokens: TokenBatch
    has_eos_B: Tensor
    rollout_logprobs_BT: Tensor
    old_logprobs_BT: Tensor
    ref_logprobs_BT: Tensor
    entropy_BT: Tensor
    values_BT: Tensor
    score_B: Tensor
    advantages_BT: Tensor
    returns_BT: Tensor

    @classmethod
    def from_rollouts(
        cls, rollouts: Sequence[Rollout], pad_id: int, device: torch.device
    ) -> Experience:
        """Tokens and masks of the rollouts; every other field starts at 0."""
        tokens = TokenBatch.from_completions(
            [r.prompt_ids for r in rollouts], [r.completion_ids for r in rollouts], pad_id, device
        )
        blank_BT = torch.zeros(tokens.mask_BT.shape, device=device)
        flat = [logprob for r in rollouts for logprob in r.logprobs]
        sampled_N = torch.tensor(flat, dtype=torch.float32, device=device)
        return cls(
            tokens=tokens,
            has_eos_B=torch.tensor([r.has_eos for r in rollouts], device=device),
            rollout_logprobs_BT=blank_BT.masked_scatter(tokens.mask_BT, sampled_N),
            old_logprobs_BT=blank_BT.clone(),
            ref_logprobs_BT=blank_BT.clone(),
            entropy_BT=blank_BT.clone(),
            values_BT=blank_BT.clone(),
            score_B=torch.zeros(len(rollouts), device=device),
            advantages_BT=blank_BT.clone(),
            returns_BT=blank_BT.clone(),
        )

    @property
    def size(self) -> int:
        return self.tokens.token_ids_BT.shape[0]

    def minibatches(self, size: int, seed: int) -> Iterator[list[int]]:
        """Row indices of each minibatch of one epoch: shuffled, every episode exactly once."""
        order = torch.randperm(self.size, generator=torch.Generator().manual_seed(seed)).tolist()
        for start in range(0, self.size, size):
            yield order[start : start + size]

    def groups(self, rows: Sequence[int], max_tokens: int, passes: Passes) -> list[list[int]]:
        """`rows` as microbatches of similar length under a token budget."""
        lengths = self.tokens.lengths_B.tolist()
        picked = token_budget_batches([lengths[row] for row in rows], max_tokens, passes)
        return [[rows[i] for i in group] for group in picked]
