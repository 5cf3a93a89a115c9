"""Next-token losses over token sequences: what pretraining, SFT, and the ptx term share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from instructgpt.data.readers import stream_records
from instructgpt.data.records import Document
from instructgpt.distributed.world import World
from instructgpt.losses.language_model import language_model_loss
from instructgpt.models.batch import TokenBatch, token_budget_batches
from instructgpt.models.causal_lm import CausalLM
from instructgpt.storage.token_store import TokenSequence, TokenStore
from instructgpt.text.rows import text_rows
from instructgpt.training.update import Microbatch


def document_rows(
    path: str | Path, tokenizer: PreTrainedTokenizerBase, row_tokens: int
) -> Iterator[TokenSequence]:
    """The documents at `path` as rows of up to `row_tokens` token ids, every token learned."""
    texts = (document.text for document in stream_records(path, Document))
    for row in text_rows(texts, tokenizer, row_tokens):
        yield row, [True] * len(row)


def sequence_lengths(sequences: Sequence[TokenSequence]) -> list[int]:
    """Tokens of every sequence."""
    if isinstance(sequences, TokenStore):
        return sequences.lengths.tolist()
    return [len(ids) for ids, _ in sequences]


def mean_length(sequences: Sequence[TokenSequence]) -> float:
    """Tokens of an average sequence."""
    return sum(sequence_lengths(sequences)) / len(sequences)


def count_targets(sequences: Sequence[TokenSequence]) -> int:
    """Tokens that have a loss: those that count and have a token before them."""
    return sum(sum(mask[1:]) for _, mask in sequences)


def language_model_microbatches(
    lm: CausalLM,
    sequences: Sequence[TokenSequence],
    *,
    max_tokens: int,
    num_tokens: int,
    coef: float = 1.0,
    metric: str = "nll",
) -> list[Microbatch]:
    """Microbatches whose losses sum to coef x (summed NLL / num_tokens).

    `metric` reports the mean NLL over these sequences' own tokens, in nats.
    """
    own_tokens = max(1, count_targets(sequences))

    def loss_of(group: list[int]) -> tuple[Tensor, dict[str, Tensor]]:
        batch = _batch(lm, sequences, group)
        logprobs_BT = lm.logprobs(batch)
        mean = language_model_loss(logprobs_BT, batch.mask_BT, num_tokens)
        own = language_model_loss(logprobs_BT.detach(), batch.mask_BT, own_tokens)
        return coef * mean, {metric: own}

    groups = token_budget_batches(sequence_lengths(sequences), max_tokens, lm.passes)
    return [partial(loss_of, group) for group in groups]


@torch.no_grad()
def mean_nll(
    lm: CausalLM, sequences: Sequence[TokenSequence], *, max_tokens: int, world: World | None = None
) -> float:
    """Mean negative log-likelihood per counted token in nats, without training: held-out loss."""
    world = world or World()
    training = lm.model.training
    lm.model.eval()
    groups = token_budget_batches(sequence_lengths(sequences), max_tokens, lm.passes)
    sums = []
    for group in world.share(groups):
        batch = _batch(lm, sequences, group)
        sums.append(float(language_model_loss(lm.logprobs(batch), batch.mask_BT, 1)))
    lm.model.train(training)
    return sum(world.gather_shares(sums)) / max(1, count_targets(sequences))


def _batch(lm: CausalLM, sequences: Sequence[TokenSequence], group: list[int]) -> TokenBatch:
    return TokenBatch.from_sequences(
        [sequences[i][0] for i in group],
        [sequences[i][1] for i in group],
        lm.pad_id,
        lm.device,
    )
