from __future__ import annotations

import math
import threading
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM

from instructgpt.errors import EngineError
from instructgpt.rollout.engine import Engine
from instructgpt.rollout.forward import ForwardPass
from instructgpt.rollout.slow_engine import SlowEngine
from instructgpt.rollout.types import SamplingParams

VOCAB, PAD, EOS, CONTEXT = 16, 0, 1, 12


@pytest.fixture
def model() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=1,
        n_embd=8,
        n_head=2,
        vocab_size=VOCAB,
        n_positions=CONTEXT,
        initializer_range=0.3,
        eos_token_id=EOS,
        bos_token_id=EOS,
    )
    return GPT2LMHeadModel(config).eval()


def force_eos(model: GPT2LMHeadModel, token: int = EOS) -> None:
    bias = torch.zeros(VOCAB)
    bias[token] = 100.0
    model.lm_head.bias = torch.nn.Parameter(bias)


SAMPLED = SamplingParams(max_new_tokens=4)


def test_eos_as_the_first_token(model: GPT2LMHeadModel) -> None:
    force_eos(model)
    for group in Engine(model, [EOS], PAD, max_slots=2).generate([[5], [6, 7], [8]], SAMPLED, n=3):
        for rollout in group:
            assert rollout.completion_ids == [EOS]
            assert rollout.finish_reason == "stop"
            assert rollout.has_eos
            assert rollout.logprobs == [pytest.approx(0.0, abs=1e-6)]


def test_any_of_the_eos_ids_ends_and_no_other_token_does(model: GPT2LMHeadModel) -> None:
    force_eos(model, token=9)
    ((stopped,),) = Engine(model, [EOS, 9], PAD).generate([[5]], SAMPLED)
    assert (stopped.completion_ids, stopped.finish_reason) == ([9], "stop")
    for eos_ids in ([EOS], []):
        ((cut,),) = Engine(model, eos_ids, PAD).generate([[5]], SAMPLED)
        assert (cut.completion_ids, cut.finish_reason) == ([9] * 4, "length")
        assert not cut.has_eos


def test_eos_on_the_last_allowed_token_is_a_stop(model: GPT2LMHeadModel) -> None:
    force_eos(model)
    ((rollout,),) = Engine(model, [EOS], PAD).generate([[5]], SamplingParams(max_new_tokens=1))
    assert rollout.finish_reason == "stop"
    ((rollout,),) = Engine(model, [EOS], PAD).generate([[5] * (CONTEXT - 1)], SAMPLED)
    assert rollout.finish_reason == "stop"


def test_max_context_narrows_the_models_limit(model: GPT2LMHeadModel) -> None:
    engine = Engine(model, [], PAD, max_context=6)
    params = SamplingParams(max_new_tokens=50)
    assert len(engine.generate([[5, 6]], params)[0][0].completion_ids) == 4
    assert len(list(engine.stream([5, 6], params))) == 4
    with pytest.raises(EngineError, match="prompt 1 has 6 tokens and the context limit is 6"):
        engine.generate([[5], [5] * 6], params)


def test_stats_count_the_work(model: GPT2LMHeadModel) -> None:
    engine = Engine(model, [], PAD, max_slots=2)
    engine.generate([[5, 6, 7], [8]], SAMPLED, n=3)
    stats = engine.stats
    assert stats.prompt_tokens == 4  # once, although there are three samples of each
    assert stats.generated_tokens == 2 * 3 * 4
    assert stats.decode_row_steps == 2 * 3 * 3  # the first token comes with the prompt
    assert stats.prefill_seconds > 0
    assert stats.decode_seconds > 0
    engine.generate([[5]], SamplingParams(max_new_tokens=1))
    assert (engine.stats.generated_tokens, engine.stats.decode_row_steps) == (1, 0)
    assert len(list(engine.stream([5, 6], SAMPLED))) == 4
    assert (engine.stats.prompt_tokens, engine.stats.generated_tokens) == (2, 4)


def test_prompt_is_read_once_for_all_samples_whatever_the_slots(model: GPT2LMHeadModel) -> None:
    read: list[int] = []
    forward = model.forward

    def counting(*args: object, **kwargs: object) -> object:
        ids = kwargs["input_ids"]
        if kwargs["use_cache"] and ids.shape[1] > 1:
            read.extend(row[0] for row in ids.tolist())
        return forward(*args, **kwargs)

    engine = Engine(model, [], PAD, max_slots=2)
    engine.generate([[5, 6]], SAMPLED)  # the compatibility check is over
    model.forward = counting
    engine.generate([[3, 6], [4, 6, 7], [5, 5]], SAMPLED, n=5)
    assert sorted(read) == [3, 4, 5]


def test_progress_counts_every_sequence(model: GPT2LMHeadModel) -> None:
    calls: list[tuple[int, int]] = []
    Engine(model, [EOS], PAD, max_slots=2).generate(
        [[5], [6], [7, 8]], SAMPLED, n=2, on_progress=lambda *c: calls.append(c)
    )
    assert calls[-1] == (6, 6)
    assert calls == sorted(set(calls))


def test_nothing_asked_nothing_done(model: GPT2LMHeadModel) -> None:
    assert Engine(model, [EOS], PAD).generate([], SAMPLED) == []
    assert SlowEngine(model, [EOS]).generate([], SAMPLED, n=3) == []


@pytest.mark.parametrize(
    ("prompts", "arguments", "message"),
    [
        ([[5], []], {}, "prompt 1 is empty"),
        ([[5] * CONTEXT], {}, "prompt 0 has 12 tokens and the context limit is 12"),
        ([[5], [5], [VOCAB]], {}, "prompt 2 holds token id 16"),
        ([[-1]], {}, "prompt 0 holds token id -1"),
        ([[5]], {"n": 0}, "n is 0"),
        ([[5]], {"keys": [1, 2]}, "2 keys for 1 prompts"),
    ],
)
@pytest.mark.parametrize("slow", [False, True])
def test_requests_that_cannot_be_served(
    model: GPT2LMHeadModel,
    prompts: list[list[int]],
    arguments: dict[str, object],
    message: str,
    slow: bool,
) -> None:
    engine = SlowEngine(model, [EOS]) if slow else Engine(model, [EOS], PAD)
    with pytest.raises(EngineError, match=message):
        engine.generate(prompts, SAMPLED, **arguments)


def test_a_stream_refuses_before_its_first_token(model: GPT2LMHeadModel) -> None:
    with pytest.raises(EngineError, match="prompt 0 is empty"):
        Engine(model, [EOS], PAD).stream([], SAMPLED)


def test_impossible_engines(model: GPT2LMHeadModel) -> None:
    for arguments, message in (
        ({"pad_id": VOCAB}, "pad_id is 16"),
        ({"pad_id": 0, "max_slots": 0}, "max_slots is 0"),
        ({"pad_id": 0, "max_context": CONTEXT + 1}, "max_context is 13"),
    ):
        with pytest.raises(EngineError, match=message):
            Engine(model, [EOS], **arguments)


def test_broken_weights_are_an_error_and_never_a_token(model: GPT2LMHeadModel) -> None:
    engine = Engine(model, [EOS], PAD)
    engine.generate([[5]], SAMPLED)
    with torch.no_grad():
        model.lm_head.weight.fill_(math.nan)
    for params in (SAMPLED, SamplingParams(max_new_tokens=4, temperature=0.0)):
        with pytest.raises(EngineError, match="not finite"):
            engine.generate([[5]], params)
        with pytest.raises(EngineError, match="not finite"):
            list(engine.stream([5], params))
    with pytest.raises(EngineError, match="not finite"):
        Engine(model, [EOS], PAD).generate([[5]], SAMPLED)


@pytest.mark.parametrize("how", ["weights", "autocast"])
def test_bfloat16_stays_close_to_float32(model: GPT2LMHeadModel, how: str) -> None:
    """bfloat16 rounds to 3 digits; log-probs here are below 5, so 0.1 is generous and not vague."""
    forced = torch.zeros(VOCAB)
    forced[7] = 2.0  # any near-tie is broken, so that both say the same
    model.lm_head.bias = torch.nn.Parameter(forced * 10)
    params = SamplingParams(max_new_tokens=5, temperature=0.0)
    prompts = [[5, 6, 7], [8], [2, 3]]
    exact = Engine(model, [EOS], PAD).generate(prompts, params)
    if how == "weights":
        engine = Engine(model.to(torch.bfloat16), [EOS], PAD, max_slots=2)
    else:
        engine = Engine(model, [EOS], PAD, max_slots=2, dtype=torch.bfloat16)
    for (got,), (expected,) in zip(engine.generate(prompts, params), exact, strict=True):
        assert got.completion_ids == expected.completion_ids
        assert got.logprobs == pytest.approx(expected.logprobs, abs=0.1)
    assert engine._slots._idle_slots.cache._keys.dtype == torch.bfloat16


def test_rotary_positions_under_autocast_keep_the_fast_way(tiny_model: LlamaForCausalLM) -> None:
    """Rotary embeddings leave float32 keys beside bfloat16 values; the cache once refused them.

    The engine then fell to the slow decoder on every CPU with bfloat16, with a warning only.
    """
    params = SamplingParams(max_new_tokens=6, temperature=0.0)
    prompts = [[5, 6, 7], [8], [2, 3]]
    engine = Engine(tiny_model, [2], 0, max_slots=2, dtype=torch.bfloat16)
    exact = Engine(tiny_model, [2], 0, max_slots=2).generate(prompts, params)
    for (got,), (expected,) in zip(engine.generate(prompts, params), exact, strict=True):
        assert got.logprobs[0] == pytest.approx(expected.logprobs[0], abs=0.1)
    assert engine._obstacles == {"slots": None}
    cache = engine._slots._idle_slots.cache
    assert cache._keys.dtype == cache._values.dtype == torch.bfloat16


def test_the_output_layer_sees_only_the_positions_asked_for(model: GPT2LMHeadModel) -> None:
    """Five prompts of five lengths once cost 25 rows of the vocabulary instead of 5."""
    seen: list[int] = []
    model.lm_head.register_forward_hook(
        lambda _layer, states, _logits: seen.append(states[0].numel() // 8)
    )
    prompts = [[5], [6, 7], [8, 9, 10], [11, 12, 13, 14], [4, 5, 6, 7, 8]]
    engine = Engine(model, [], PAD)
    engine.warm_up()
    seen.clear()
    engine.generate(prompts, SamplingParams(max_new_tokens=1))
    assert seen == [5]


def test_rows_that_fill_up_a_batch_disturb_nobody(model: GPT2LMHeadModel) -> None:
    """Five rows are computed as eight, and each gets what it gets alone."""
    rows: list[int] = []
    model.transformer.wte.register_forward_hook(lambda _layer, ids, _out: rows.append(len(ids[0])))
    prompts = [[5], [6, 7], [8, 9, 10], [11, 12, 13, 14], [4, 5, 6, 7, 8]]
    engine = Engine(model, [], PAD, max_slots=9)
    together = engine.generate(prompts, SAMPLED)
    assert {8, 5} <= set(rows)
    for i, prompt in enumerate(prompts):
        (alone,) = Engine(model, [], PAD, max_slots=1).generate([prompt], SAMPLED, keys=[i])
        assert together[i][0].completion_ids == alone[0].completion_ids
        assert together[i][0].logprobs == pytest.approx(alone[0].logprobs, abs=1e-5)


def test_ready_inside_ready_changes_nothing_until_the_outer_one_ends(
    model: GPT2LMHeadModel,
) -> None:
    engine = Engine(model, [], PAD)
    expected = engine.generate([[5, 6]], SAMPLED)
    model.train()
    with engine.forward.ready():
        assert engine.generate([[5, 6]], SAMPLED) == expected
        assert not model.training
        assert torch.is_inference_mode_enabled()
    assert model.training
    assert not torch.is_inference_mode_enabled()
    assert engine.generate([[5, 6]], SAMPLED) == expected


def test_two_engines_in_two_threads_may_share_a_model(tiny_model: LlamaForCausalLM) -> None:
    """While one read prompts, the other's passes through the same output layer took the first's
    positions: up to half of the completions were wrong.
    """
    forward, other = ForwardPass(tiny_model, None), ForwardPass(tiny_model, None)
    mine, theirs = torch.tensor([[5, 6, 7], [8, 9, 0]]), torch.tensor([[9, 8, 7], [6, 0, 0]])
    ends, their_ends = torch.tensor([2, 1]), torch.tensor([2, 0])
    backbone, reading = tiny_model.model.forward, []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        states = backbone(*args, **kwargs)
        if not reading:
            reading.append(True)
            thread = threading.Thread(target=lambda: reading.append(logits(other, theirs)))
            thread.start()
            thread.join()
        return states

    def logits(which: ForwardPass, ids: Tensor) -> Tensor:
        with which.ready():
            return which.logits_at(ids, ends if ids is mine else their_ends)

    alone = logits(forward, mine), logits(other, theirs)
    tiny_model.model.forward = interrupted
    try:
        together = logits(forward, mine)
    finally:
        del tiny_model.model.forward
    torch.testing.assert_close(together, alone[0])
    torch.testing.assert_close(reading[1], alone[1])
