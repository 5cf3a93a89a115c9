"""Which model SFT keeps: the paper's choice is the reward model's, not the validation loss's."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import LlamaForCausalLM

from instructgpt.config.sft import SFTConfig
from instructgpt.distributed.world import World
from instructgpt.models.causal_lm import CausalLM
from instructgpt.training.sft import SFTTrainer


class Tokenizer:
    pad_token_id = 0


@pytest.mark.parametrize(
    ("select", "kept"),
    [
        ("reward_score", [1, 3]),  # scores 0.2, 0.1, 0.5: whenever it is the best so far
        ("valid_loss", [1, 2]),  # losses 0.9, 0.4, 0.6
        ("last", []),
    ],
)
def test_the_best_so_far_is_kept(
    tiny_model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch, select: str, kept: list[int]
) -> None:
    scores, losses = iter([0.2, 0.1, 0.5]), iter([0.9, 0.4, 0.6])
    monkeypatch.setattr("instructgpt.training.sft.mean_nll", lambda *_, **__: next(losses))
    summaries: list[dict[str, Any]] = []
    row = ([5, 6, 2], [False, True, True])
    trainer = SFTTrainer(
        SFTConfig(
            model="m",
            demonstrations="d",
            demonstrations_valid="v",
            reward_model="r",
            select=select,
        ),
        CausalLM(tiny_model, Tokenizer()),
        train=[row],
        valid=[row],
        pretraining=[],
        score=lambda: next(scores),
        keep=summaries.append,
        world=World(),
    )
    for step in (1, 2, 3):
        trainer.evaluate(step)
    assert [summary["step"] for summary in summaries] == kept
