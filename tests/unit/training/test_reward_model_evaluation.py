"""The held-out loss is the training loss, on other prompts: one prompt counts once."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from instructgpt.config.reward_model import RewardModelConfig
from instructgpt.distributed.world import World
from instructgpt.models.scalar_model import ScalarModel
from instructgpt.training.examples import TokenRanking
from instructgpt.training.reward_model import RewardModelTrainer


class Tokenizer:
    pad_token_id = 0


def ranking(*ranks: int) -> TokenRanking:
    return TokenRanking([([5, 6 + k, 2], [False, True, True]) for k in range(len(ranks))], ranks)


@pytest.mark.parametrize(("normaliser", "of_first"), [("valid_pairs", 1 / 2), ("all_pairs", 1 / 3)])
def test_heldout_loss_by_hand(
    monkeypatch: pytest.MonkeyPatch, normaliser: str, of_first: float
) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, num_labels=1, pad_token_id=0,
    )  # fmt: skip
    model = ScalarModel(LlamaForSequenceClassification(config), Tokenizer())
    settings = RewardModelConfig(
        model="m", rankings="r", rankings_heldout="h", normaliser=normaliser
    )
    heldout = [ranking(1, 2, 2), ranking(2, 1)]
    trainer = RewardModelTrainer(settings, model, train=heldout, heldout=heldout, world=World())
    monkeypatch.setattr(trainer, "scores", lambda rankings: [2.0, 1.0, 0.0, 0.0, 3.0])

    def softplus(x: float) -> float:
        return math.log1p(math.exp(x))

    first = of_first * (softplus(-1.0) + softplus(-2.0))  # one of three pairs is tied
    expected = (first + softplus(-3.0)) / 2
    assert trainer.evaluate(0) == {
        "heldout_loss": pytest.approx(expected, abs=1e-6),
        "heldout_accuracy": 1.0,
    }


def test_a_ranking_of_k_costs_k_forward_passes_and_not_one_per_pair() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, num_labels=1, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForSequenceClassification(config)
    read: list[int] = []
    model.model.register_forward_pre_hook(lambda _, args: read.append(args[0].shape[0]))
    settings = RewardModelConfig(model="m", rankings="r", rankings_heldout="h", batch_size=2)
    rankings = [ranking(1, 2, 3, 4, 5, 6), ranking(2, 1, 3)]
    trainer = RewardModelTrainer(
        settings, ScalarModel(model, Tokenizer()), train=rankings, heldout=[], world=World()
    )
    trainer.step(0)
    assert sum(read) == 6 + 3  # 15 + 3 pairs, two sequences each, would be 36
