"""Generation on a GPU: recorded steps against full forward passes, and models that refuse."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from instructgpt.models.gpu_attention import NAME as GPU_ATTENTION
from instructgpt.rollout.cuda_graphs import GraphRecorder
from instructgpt.rollout.engine import Engine
from instructgpt.rollout.slow_engine import SlowEngine
from instructgpt.rollout.types import Rollout, SamplingParams

pytestmark = pytest.mark.gpu

VOCAB, EOS = 97, 2
PROMPTS = [[3 + i, 5, 7 + i, 11][: 1 + i % 4] for i in range(13)]
PARAMS = {
    "greedy": SamplingParams(max_new_tokens=40, temperature=0.0),
    "sampled": SamplingParams(max_new_tokens=40, seed=2),
    "narrowed": SamplingParams(max_new_tokens=40, temperature=0.7, top_k=12, top_p=0.8, seed=4),
}


def gpt2() -> PreTrainedModel:
    sizes = {"n_layer": 2, "n_embd": 64, "n_head": 4, "n_positions": 128}
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, initializer_range=0.2, **sizes))


def qwen3() -> PreTrainedModel:
    """Two query heads for each key head."""
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=VOCAB,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=16,
            max_position_embeddings=128,
            initializer_range=0.2,
        )
    )


@pytest.fixture(params=[gpt2, qwen3])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    torch.manual_seed(0)
    built = request.param().eval().cuda()
    return built


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry per recording that is made."""
    made: list[int] = []
    record = GraphRecorder.__call__

    def counted(self: GraphRecorder, run: Any) -> Any:
        made.append(1)
        return record(self, run)

    monkeypatch.setattr(GraphRecorder, "__call__", counted)
    return made


def tokens(groups: list[list[Rollout]]) -> list[list[list[int]]]:
    return [[rollout.completion_ids for rollout in group] for group in groups]


@pytest.mark.parametrize("how", PARAMS)
def test_equals_the_slow_engine(
    model: PreTrainedModel, recordings: list[int], how: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    expected = SlowEngine(model, [EOS]).generate(PROMPTS, PARAMS[how], n=2)
    engine = Engine(model, [EOS], 0, max_slots=8)
    for _ in range(2):
        got = engine.generate(PROMPTS, PARAMS[how], n=2)
        assert tokens(got) == tokens(expected)
        for ours, theirs in zip(got, expected, strict=True):
            for a, b in zip(ours, theirs, strict=True):
                assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
    assert recordings
    assert not caplog.records
    grouped = model.config.get_text_config()._attn_implementation == GPU_ATTENTION
    assert grouped == isinstance(model, Qwen3ForCausalLM)


def test_trained_weights_are_read_by_old_recordings(
    model: PreTrainedModel, recordings: list[int]
) -> None:
    engine = Engine(model, [], 0, max_slots=8)
    before = engine.generate(PROMPTS, PARAMS["greedy"])
    engine.generate(PROMPTS, PARAMS["greedy"])
    count = len(recordings)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
    model(torch.tensor([PROMPTS[3]]).cuda()).logits.square().mean().backward()
    optimizer.step()
    got = engine.generate(PROMPTS, PARAMS["greedy"])
    assert len(recordings) == count
    assert tokens(got) == tokens(SlowEngine(model, []).generate(PROMPTS, PARAMS["greedy"]))
    assert tokens(got) != tokens(before)


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16], ids=["autocast", "bfloat16"])
def test_bfloat16_stays_close_to_a_full_forward_pass(
    model: PreTrainedModel, recordings: list[int], weights: torch.dtype
) -> None:
    """Twice: recordings made under autocast must not keep casts that are freed afterwards."""
    model.to(weights)
    dtype = torch.bfloat16 if weights == torch.float32 else None
    engine = Engine(model, [EOS], 0, max_slots=8, dtype=dtype)
    for _ in range(3):
        torch.randn(1 << 20, device="cuda")  # takes memory that was freed
        groups = engine.generate(PROMPTS, PARAMS["sampled"])
        for (rollout,) in groups:
            ids = torch.tensor([[*rollout.prompt_ids, *rollout.completion_ids]]).cuda()
            with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
                logits = model(ids).logits[0, len(rollout.prompt_ids) - 1 : -1].float()
            chosen = torch.tensor(rollout.completion_ids).cuda()[:, None]
            expected = logits.log_softmax(-1).gather(1, chosen).flatten().tolist()
            assert rollout.logprobs == pytest.approx(expected, abs=0.15)
    assert recordings


def test_a_model_that_looks_at_its_numbers_is_not_recorded(
    tiny_model: LlamaForCausalLM, caplog: pytest.LogCaptureFixture
) -> None:
    """After a recording that failed the device and its random numbers still work."""
    tiny_model.cuda()
    tiny_model.model.layers[1].register_forward_pre_hook(lambda module, given: _look(given[0]))
    expected = SlowEngine(tiny_model, [EOS]).generate(PROMPTS, PARAMS["greedy"])
    engine = Engine(tiny_model, [EOS], 0)
    for _ in range(2):
        assert tokens(engine.generate(PROMPTS, PARAMS["greedy"])) == tokens(expected)
    (record,) = caplog.records
    assert "without CUDA graphs" in record.getMessage()
    assert torch.randn(3, device="cuda").isfinite().all()
    torch.nn.functional.dropout(torch.ones(8, device="cuda"), 0.5)


def _look(states: torch.Tensor) -> None:
    assert float(states.sum()) == float(states.sum())
