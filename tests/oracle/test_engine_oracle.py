"""The engine against three independent ways to know what it should have said.

SlowEngine (full forward passes, its own float64 sampler), `generate` of transformers, and the
log-probs of one full forward pass over the finished text.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from instructgpt.rollout.engine import Engine
from instructgpt.rollout.slow_engine import SlowEngine
from instructgpt.rollout.types import Rollout, SamplingParams

VOCAB, PAD, EOS, OTHER_EOS = 48, 0, 1, 2
CONTEXT = 40
# Ten times the usual spread: attention, positions and masks must matter to what is generated.
SPREAD = 0.2
COMMON = {"vocab_size": VOCAB, "pad_token_id": PAD, "eos_token_id": EOS, "bos_token_id": 3}


def gpt2() -> PreTrainedModel:
    return GPT2LMHeadModel(
        GPT2Config(
            n_layer=2, n_embd=32, n_head=4, n_positions=CONTEXT, initializer_range=SPREAD, **COMMON
        )
    )


def llama() -> PreTrainedModel:
    return LlamaForCausalLM(
        LlamaConfig(
            num_hidden_layers=2,
            hidden_size=32,
            intermediate_size=48,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=CONTEXT,
            initializer_range=SPREAD,
            **COMMON,
        )
    )


def qwen3() -> PreTrainedModel:
    return Qwen3ForCausalLM(
        Qwen3Config(
            num_hidden_layers=2,
            hidden_size=32,
            intermediate_size=48,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=12,
            max_position_embeddings=CONTEXT,
            initializer_range=SPREAD,
            **COMMON,
        )
    )


@pytest.fixture(params=[gpt2, llama, qwen3], scope="module")
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    build: Callable[[], PreTrainedModel] = request.param
    torch.manual_seed(0)
    built = build().eval()
    # A random model hardly ever stops by itself.
    bias = torch.zeros(VOCAB)
    bias[EOS] = bias[OTHER_EOS] = 1.0
    built.get_output_embeddings().bias = torch.nn.Parameter(bias)
    return built


def make_prompts(count: int, longest: int = 14) -> list[list[int]]:
    rng = random.Random(7)
    return [[rng.randrange(4, VOCAB) for _ in range(rng.randint(1, longest))] for _ in range(count)]


def assert_same(got: list[list[Rollout]], expected: list[list[Rollout]]) -> None:
    for a, b in zip(got, expected, strict=True):
        assert [r.completion_ids for r in a] == [r.completion_ids for r in b]
        assert [r.finish_reason for r in a] == [r.finish_reason for r in b]
        assert [r.prompt_ids for r in a] == [r.prompt_ids for r in b]
        for x, y in zip(a, b, strict=True):
            assert x.logprobs == pytest.approx(y.logprobs, abs=1e-4)


PARAMS = {
    "greedy": SamplingParams(max_new_tokens=7, temperature=0.0),
    "sampled": SamplingParams(max_new_tokens=7, seed=3),
    "narrowed": SamplingParams(max_new_tokens=7, temperature=0.7, top_k=12, top_p=0.8, seed=4),
}


@pytest.mark.parametrize("how", PARAMS)
def test_equals_the_slow_engine_for_every_slot_count_and_sample_count(
    model: PreTrainedModel, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    prompts, params, eos_ids = make_prompts(8), PARAMS[how], [EOS, OTHER_EOS]
    expected = SlowEngine(model, eos_ids).generate(prompts, params, n=4)
    # else the comparison says little
    assert {r.finish_reason for group in expected for r in group} == {"stop", "length"}
    for slots in (2, 5, 64):
        engine = Engine(model, eos_ids, PAD, max_slots=slots)
        assert_same(engine.generate(prompts, params, n=4), expected)
        assert_same(engine.generate(prompts, params, n=1), [group[:1] for group in expected])
    assert not caplog.records  # the fast way, not a fallback


def test_greedy_equals_generate(model: PreTrainedModel) -> None:
    prompts = make_prompts(16)
    ours = Engine(model, [EOS], PAD, max_slots=6).generate(prompts, PARAMS["greedy"])
    width = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    theirs = model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=7)
    for (rollout,), row in zip(ours, theirs[:, width:].tolist(), strict=True):
        expected = row[: row.index(EOS) + 1] if EOS in row else row
        assert rollout.completion_ids == expected


@pytest.mark.parametrize("temperature", [0.0, 0.6, 1.0])
def test_logprobs_equal_a_full_forward_pass(model: PreTrainedModel, temperature: float) -> None:
    params = SamplingParams(max_new_tokens=12, temperature=temperature, seed=1)
    engine = Engine(model, [EOS], PAD, max_slots=7)
    for group in engine.generate(make_prompts(10), params, n=2):
        for rollout in group:
            ids = torch.tensor([[*rollout.prompt_ids, *rollout.completion_ids]])
            with torch.no_grad():
                logits = model(ids).logits[0, len(rollout.prompt_ids) - 1 : -1]
            expected = (logits / (temperature or 1.0)).log_softmax(-1)
            chosen = torch.tensor(rollout.completion_ids)[:, None]
            assert rollout.logprobs == pytest.approx(
                expected.gather(1, chosen).flatten().tolist(), abs=1e-4
            )


def test_a_prompt_that_almost_fills_the_context_ends_there(model: PreTrainedModel) -> None:
    prompts = [[5] * (CONTEXT - 3), [6] * (CONTEXT - 1), [7, 8]]
    params = SamplingParams(max_new_tokens=100, seed=2)
    got = Engine(model, [], PAD).generate(prompts, params, n=2)
    assert [[len(r.completion_ids) for r in group] for group in got] == [
        [3, 3],
        [1, 1],
        [CONTEXT - 2, CONTEXT - 2],
    ]
    assert {r.finish_reason for group in got for r in group} == {"length"}
    assert_same(got, SlowEngine(model, []).generate(prompts, params, n=2))


def test_eager_attention_is_taken_the_fast_way(
    model: PreTrainedModel, caplog: pytest.LogCaptureFixture
) -> None:
    prompts, params = make_prompts(8), PARAMS["sampled"]
    expected = Engine(model, [EOS], PAD, max_slots=3).generate(prompts, params, n=2)
    model.set_attn_implementation("eager")
    try:
        assert_same(Engine(model, [EOS], PAD, max_slots=3).generate(prompts, params, n=2), expected)
    finally:
        model.set_attn_implementation("sdpa")
    assert not caplog.records
