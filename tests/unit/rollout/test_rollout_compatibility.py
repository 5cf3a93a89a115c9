"""Models that the fast way cannot take: one warning that says why, and the right answers."""

from __future__ import annotations

import inspect
import logging
from typing import Any

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

from instructgpt.rollout.compatibility import slot_obstacle
from instructgpt.rollout.engine import Engine
from instructgpt.rollout.forward import ForwardPass
from instructgpt.rollout.slot_decoder import SlotDecoder
from instructgpt.rollout.slow_engine import SlowEngine
from instructgpt.rollout.types import SamplingParams

VOCAB = 24
PROMPTS = [[5, 6, 7, 8], [9], [3, 4], [10, 11], [6, 5, 4, 3, 2]]
PARAMS = SamplingParams(max_new_tokens=6, seed=1)
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
ROPE = {
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "max_position_embeddings": 32,
    "initializer_range": 0.3,
    **IDS,
}


def mistral(window: int | None) -> PreTrainedModel:
    config = MistralConfig(num_key_value_heads=1, sliding_window=window, **ROPE)
    return MistralForCausalLM(config)


def bloom() -> PreTrainedModel:
    return BloomForCausalLM(
        BloomConfig(
            vocab_size=VOCAB, hidden_size=16, n_layer=2, n_head=2, initializer_range=0.3, **IDS
        )
    )


def mamba() -> PreTrainedModel:
    return MambaForCausalLM(
        MambaConfig(
            vocab_size=VOCAB, hidden_size=16, num_hidden_layers=2, initializer_range=0.3, **IDS
        )
    )


def hybrid() -> PreTrainedModel:
    return Qwen3NextForCausalLM(
        Qwen3NextConfig(
            num_key_value_heads=1,
            head_dim=8,
            linear_num_value_heads=2,
            linear_num_key_heads=2,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
            num_experts=0,
            num_experts_per_tok=1,
            mlp_only_layers=[0, 1],
            layer_types=["linear_attention", "full_attention"],
            **ROPE,
        )
    )


def check(
    model: PreTrainedModel, caplog: pytest.LogCaptureFixture, params: SamplingParams = PARAMS
) -> list[str]:
    """Generate twice, compare with the oracle, and return the engine's warnings."""
    model.eval()
    caplog.set_level(logging.WARNING, logger="instructgpt")
    expected = SlowEngine(model, [2]).generate(PROMPTS, params, n=3)
    engine = Engine(model, [2], 0, max_slots=4)
    for _ in range(2):
        got = engine.generate(PROMPTS, params, n=3)
        assert [[r.completion_ids for r in g] for g in got] == [
            [r.completion_ids for r in g] for g in expected
        ]
        for group, right in zip(got, expected, strict=True):
            for a, b in zip(group, right, strict=True):
                assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
    ((first, *_), *_) = expected
    assert [token for token, _ in engine.stream(PROMPTS[0], params)] == first.completion_ids
    assert engine.stats.prompt_tokens == len(PROMPTS[0])
    return [r.getMessage() for r in caplog.records if r.name.startswith("instructgpt")]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_a_window_that_no_sequence_reaches_is_no_obstacle(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert check(mistral(window=11), caplog) == []


def test_sequences_beyond_the_attention_window_go_the_slower_way(
    caplog: pytest.LogCaptureFixture,
) -> None:
    (message,) = check(mistral(window=4), caplog)
    assert "MistralForCausalLM" in message
    assert "sequences of 11 tokens exceed its attention window of 4" in message
    assert "batches of prompts of equal length" in message


def test_other_standard_attention_models_go_the_fast_way(caplog: pytest.LogCaptureFixture) -> None:
    assert check(GPTNeoXForCausalLM(GPTNeoXConfig(**ROPE)), caplog) == []
    opt = OPTConfig(
        vocab_size=VOCAB,
        hidden_size=16,
        word_embed_proj_dim=16,
        ffn_dim=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        init_std=0.3,
        **IDS,
    )
    assert check(OPTForCausalLM(opt), caplog) == []


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (bloom, "takes no position_ids"),
        (hybrid, "layers without a plain key-value cache"),
    ],
)
def test_models_with_their_own_idea_of_a_cache(
    build: Any, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    (message,) = check(build(), caplog)
    assert why in message
    assert "batches of prompts of equal length" in message


def test_a_model_without_a_usable_cache_is_read_in_full(caplog: pytest.LogCaptureFixture) -> None:
    (message,) = check(mamba(), caplog)
    assert "one full forward pass per token" in message


class PositionBlind(GPT2LMHeadModel):
    """Accepts positions and ignores them, as a careless port would."""

    def forward(self, *args: Any, position_ids: Any = None, **kwargs: Any) -> Any:
        return super().forward(*args, **kwargs)


class CacheBlind(GPT2LMHeadModel):
    """Accepts a cache, fills it, and never looks into the past."""

    def forward(self, *args: Any, past_key_values: Any = None, **kwargs: Any) -> Any:
        if past_key_values is not None and past_key_values.get_seq_length() > 0:
            kwargs.pop("attention_mask", None)
            return super().forward(*args, **{**kwargs, "use_cache": False})
        return super().forward(*args, past_key_values=past_key_values, **kwargs)


# Signatures are read, so the liars must name what they ignore.
for liar in (PositionBlind, CacheBlind):
    liar.forward.__signature__ = inspect.signature(GPT2LMHeadModel.forward)


@pytest.mark.parametrize(
    ("liar", "way"),
    [
        (PositionBlind, "batches of prompts of equal length"),
        (CacheBlind, "one full forward pass per token"),
    ],
)
def test_a_model_that_lies_is_found_out_by_measuring(
    liar: type[GPT2LMHeadModel], way: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = GPT2Config(
        n_layer=2, n_embd=16, n_head=2, vocab_size=VOCAB, n_positions=32, initializer_range=0.3
    )
    (message,) = check(liar(config), caplog)
    assert "differs from a full forward pass" in message
    assert way in message


def test_an_attention_without_masks_is_no_place_for_slots() -> None:
    model = GPT2LMHeadModel(
        GPT2Config(n_layer=1, n_embd=16, n_head=2, vocab_size=VOCAB, n_positions=32)
    )
    model.config._attn_implementation = "flash_attention_2"
    decoder = SlotDecoder(ForwardPass(model, dtype=None), pad_id=0, max_slots=2)
    reason = slot_obstacle(decoder)
    assert reason == "its attention implementation 'flash_attention_2' takes no custom mask"
