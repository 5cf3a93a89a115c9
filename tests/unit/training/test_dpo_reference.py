"""The reference is asked once, before training; afterwards it must still be what it was."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from transformers import LlamaForCausalLM

from instructgpt.config.dpo import DPOConfig
from instructgpt.distributed.world import World
from instructgpt.models.causal_lm import CausalLM
from instructgpt.training.dpo import DPOTrainer
from instructgpt.training.examples import TokenRanking


class Tokenizer:
    pad_token_id = 0


def ranking(prompt: list[int], *completions: list[int]) -> TokenRanking:
    sequences = [
        ([*prompt, *c, 2], [False] * len(prompt) + [True] * (len(c) + 1)) for c in completions
    ]
    return TokenRanking(sequences, tuple(range(1, len(completions) + 1)))


RANKINGS = [
    ranking([5, 6, 7], [8, 9], [10], [11, 12, 13]),
    ranking([20], [21, 22, 23, 24], [25]),
    ranking([30, 31], [32], [33, 34, 35]),
]


def summed_logprob(model: LlamaForCausalLM, ids: list[int], mask: list[bool]) -> float:
    """One sequence at a time, from full logits."""
    with torch.no_grad():
        logprobs = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(float(logprobs[t - 1, ids[t]]) for t in range(1, len(ids)) if mask[t])


def pair_margins(
    policy: LlamaForCausalLM, reference: LlamaForCausalLM, ranked: TokenRanking
) -> list[float]:
    ratios = [
        summed_logprob(policy, *sequence) - summed_logprob(reference, *sequence)
        for sequence in ranked.sequences
    ]
    return [ratios[i] - ratios[j] for i in range(len(ratios)) for j in range(i + 1, len(ratios))]


@pytest.mark.parametrize("budget", [8, 4096])
def test_loss_is_that_of_a_reference_kept_beside_the_policy(
    tiny_model: LlamaForCausalLM, budget: int
) -> None:
    reference = copy.deepcopy(tiny_model)
    config = DPOConfig(
        model="m",
        rankings="r",
        batch_size=2,
        epochs=4,
        beta=0.3,
        optim={"lr": 1e-2},
        hardware={"tokens_per_microbatch": budget},
    )
    trainer = DPOTrainer(
        config, policy=CausalLM(tiny_model, Tokenizer()), train=RANKINGS, heldout=[], world=World()
    )
    trainer.heldout = trainer.train
    assert trainer.evaluate(0)["heldout_loss"] == pytest.approx(math.log(2), abs=1e-5)
    for step in range(4):
        trainer.step(step)
    per_prompt = [
        sum(math.log1p(math.exp(-0.3 * m)) for m in margins) / len(margins)
        for margins in (pair_margins(tiny_model, reference, r) for r in RANKINGS)
    ]
    expected = sum(per_prompt) / len(per_prompt)
    assert expected < 0.5  # it did learn, so that the comparison says something
    assert trainer.evaluate(4)["heldout_loss"] == pytest.approx(expected, abs=1e-4)
