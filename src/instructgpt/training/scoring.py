"""Reward-model scores of texts. The reward is of text: policy and reward model may tokenize
differently, and each renders the conversation with its own template.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from instructgpt.data.records import Prompt
from instructgpt.distributed.world import World
from instructgpt.errors import DataError
from instructgpt.models.batch import TokenBatch, ask_by_length
from instructgpt.models.scalar_model import ScalarModel
from instructgpt.storage.token_store import TokenSequence
from instructgpt.text.chat_template import ChatRenderer
from instructgpt.training.examples import completion_sequence
from instructgpt.training.language_modeling import sequence_lengths


@torch.no_grad()
def score_sequences(
    reward_model: ScalarModel,
    sequences: Sequence[TokenSequence],
    *,
    max_tokens: int,
    world: World | None = None,
) -> list[float]:
    """One score per token sequence, in order; microbatched by length, shared over ranks.

    Errors: DataError for a sequence longer than the reward model's context.
    """
    world = world or World()
    if not sequences:
        raise DataError("there is nothing to score: every prompt or ranking was left out")
    lengths = sequence_lengths(sequences)
    longest = max(lengths)
    if longest > reward_model.context:
        raise DataError(
            f"a prompt with its completion has {longest} tokens, over the reward model's context "
            f"of {reward_model.context}; drop long prompts or lower max_new_tokens"
        )
    reward_model.model.eval()

    def ask(group: list[int]) -> list[float]:
        batch = TokenBatch.from_sequences(
            [sequences[i][0] for i in group],
            [sequences[i][1] for i in group],
            reward_model.pad_id,
            reward_model.device,
        )
        return reward_model.scores(batch).tolist()

    return ask_by_length(ask, lengths, max_tokens, reward_model.passes, world)


def score_texts(
    reward_model: ScalarModel,
    prompts: Sequence[Prompt],
    completions: Sequence[str],
    *,
    max_tokens: int,
) -> list[float]:
    """One score per (prompt, finished completion text)."""
    renderer = ChatRenderer(reward_model.tokenizer)
    sequences = [
        completion_sequence(renderer, prompt, completion)
        for prompt, completion in zip(prompts, completions, strict=True)
    ]
    return score_sequences(reward_model, sequences, max_tokens=max_tokens)
