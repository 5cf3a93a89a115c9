"""What a model makes of a text as a whole: the mean of its last hidden states.

Shapes: B sequences, T positions, D hidden width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from instructgpt.models.batch import Passes, TokenBatch, token_budget_batches
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.precision import autocast


@torch.no_grad()
def mean_hidden_states(
    lm: CausalLM, sequences: Sequence[Sequence[int]], *, max_tokens: int
) -> Tensor:
    """Mean over positions of the last hidden state, scaled to length 1: float32 BD.

    max_tokens: padded tokens per forward pass. No sequence may be empty or longer than the context.
    """
    rows: list[Tensor] = [torch.empty(0)] * len(sequences)
    for group in token_budget_batches(
        [len(ids) for ids in sequences], max_tokens, Passes.of_padded_rows(lm.device)
    ):
        texts = [sequences[i] for i in group]
        counts = [[True] * len(ids) for ids in texts]
        batch = TokenBatch.from_sequences(texts, counts, lm.pad_id, lm.device)
        with autocast(lm.device, lm.dtype):
            hidden_BTD = lm.model.base_model(batch.token_ids_BT, use_cache=False)[0].float()
        sums_BD = (hidden_BTD * batch.mask_BT[..., None]).sum(dim=1)
        means_BD = torch.nn.functional.normalize(sums_BD / batch.lengths_B[:, None], dim=-1)
        for index, mean_D in zip(group, means_BD.cpu(), strict=True):
            rows[index] = mean_D
    return torch.stack(rows)
