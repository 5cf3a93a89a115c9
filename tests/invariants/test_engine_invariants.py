"""What must not change a completion (company, order, slots, cuts) and what must (seed, key).

The models are tiny and their logits far apart, so that rounding does not decide a token.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from instructgpt.rollout.engine import BaseEngine, Engine
from instructgpt.rollout.slow_engine import SlowEngine
from instructgpt.rollout.types import Rollout, SamplingParams

VOCAB, PAD, EOS = 48, 0, 1
PARAMS = SamplingParams(max_new_tokens=10, temperature=0.9, seed=11)


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    torch.manual_seed(1)
    built = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB,
            num_hidden_layers=2,
            hidden_size=32,
            intermediate_size=48,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            initializer_range=0.2,
            attention_dropout=0.5,
            pad_token_id=PAD,
            eos_token_id=EOS,
            bos_token_id=3,
        )
    ).eval()
    bias = torch.zeros(VOCAB)
    bias[EOS] = 2.0
    built.get_output_embeddings().bias = torch.nn.Parameter(bias)
    return built


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    rng = random.Random(5)
    return [[rng.randrange(4, VOCAB) for _ in range(rng.randint(1, 20))] for _ in range(12)]


def texts(groups: list[list[Rollout]]) -> list[list[list[int]]]:
    return [[r.completion_ids for r in group] for group in groups]


def test_slot_count_does_not_matter(model: PreTrainedModel, prompts: list[list[int]]) -> None:
    results = [
        texts(Engine(model, [EOS], PAD, max_slots=s).generate(prompts, PARAMS, n=3))
        for s in (1, 3, 16, 200)
    ]
    assert results[0] == results[1] == results[2] == results[3]


def test_order_does_not_matter_when_keys_travel_with_the_prompts(
    model: PreTrainedModel, prompts: list[list[int]]
) -> None:
    engine = Engine(model, [EOS], PAD, max_slots=6)
    straight = texts(engine.generate(prompts, PARAMS, n=2))
    order = list(range(len(prompts)))
    random.Random(0).shuffle(order)
    shuffled = texts(engine.generate([prompts[i] for i in order], PARAMS, n=2, keys=order))
    assert shuffled == [straight[i] for i in order]


def test_company_does_not_matter(model: PreTrainedModel, prompts: list[list[int]]) -> None:
    engine = Engine(model, [EOS], PAD, max_slots=4)
    together = engine.generate(prompts, PARAMS, n=2)
    for i, prompt in enumerate(prompts):
        (alone,) = engine.generate([prompt], PARAMS, n=2, keys=[i])
        assert texts([alone]) == texts([together[i]])
        for a, b in zip(alone, together[i], strict=True):
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-5)


def test_fewer_samples_and_fewer_tokens_are_beginnings(
    model: PreTrainedModel, prompts: list[list[int]]
) -> None:
    engine = Engine(model, [EOS], PAD, max_slots=8)
    full = texts(engine.generate(prompts, PARAMS, n=4))
    two = texts(engine.generate(prompts, PARAMS, n=2))
    assert two == [group[:2] for group in full]
    short = SamplingParams(max_new_tokens=4, temperature=0.9, seed=11)
    cut = engine.generate(prompts, short, n=2)
    assert texts(cut) == [[ids[:4] for ids in group] for group in two]


def test_seed_key_and_sample_index_each_change_the_randomness(
    model: PreTrainedModel, prompts: list[list[int]]
) -> None:
    engine = Engine(model, [EOS], PAD)
    base = texts(engine.generate(prompts, PARAMS, n=2))
    assert texts(engine.generate(prompts, PARAMS, n=2)) == base
    other = SamplingParams(max_new_tokens=10, temperature=0.9, seed=12)
    assert texts(engine.generate(prompts, other, n=2)) != base
    assert texts(engine.generate(prompts, PARAMS, n=2, keys=range(100, 112))) != base
    assert [group[0] for group in base] != [group[1] for group in base]
    twins = texts(engine.generate([prompts[0]] * 2, PARAMS, n=2, keys=[9, 9]))
    assert twins[0] == twins[1]


def test_a_completion_ends_at_its_first_eos_or_its_limit(
    model: PreTrainedModel, prompts: list[list[int]]
) -> None:
    rollouts = [r for g in Engine(model, [EOS, 9], PAD).generate(prompts, PARAMS, n=5) for r in g]
    assert {r.finish_reason for r in rollouts} == {"stop", "length"}
    for rollout in rollouts:
        assert len(rollout.logprobs) == len(rollout.completion_ids)
        assert not {EOS, 9} & set(rollout.completion_ids[:-1])
        assert rollout.has_eos == (rollout.completion_ids[-1] in (EOS, 9))
        assert rollout.has_eos or len(rollout.completion_ids) == PARAMS.max_new_tokens


def test_global_random_state_and_the_model_are_left_alone(
    model: PreTrainedModel, prompts: list[list[int]]
) -> None:
    engine = Engine(model, [EOS], PAD)
    expected = texts(engine.generate(prompts, PARAMS))
    before = {name: p.clone() for name, p in model.state_dict().items()}
    state = torch.get_rng_state()
    model.train()
    model.model.layers[0].eval()  # a layer that its owner had frozen
    try:
        # Attention dropout of 0.5 would show: generation happens in evaluation mode.
        assert texts(engine.generate(prompts, PARAMS)) == expected
        assert model.training
        assert model.model.layers[1].training
        assert not model.model.layers[0].training
        assert not model.model.layers[0].mlp.training
    finally:
        model.eval()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], p) for name, p in model.state_dict().items())
    assert not torch.is_inference_mode_enabled()


def test_new_weights_are_used_at_once(model: PreTrainedModel, prompts: list[list[int]]) -> None:
    engine = Engine(model, [EOS], PAD)
    engine.generate(prompts, PARAMS)
    weight = model.get_input_embeddings().weight
    saved = weight.detach().clone()
    try:
        with torch.no_grad():
            weight.copy_(saved.flip(0))
        after = texts(engine.generate(prompts, PARAMS))
        assert after == texts(Engine(model, [EOS], PAD).generate(prompts, PARAMS))
    finally:
        with torch.no_grad():
            weight.copy_(saved)
    assert after != texts(engine.generate(prompts, PARAMS))


def test_training_goes_on_after_generation(
    model: PreTrainedModel, prompts: list[list[int]]
) -> None:
    """Nothing that generation leaves behind (inference tensors) reaches autograd."""
    Engine(model, [EOS], PAD).generate(prompts, PARAMS)
    model(torch.tensor([prompts[0]]), use_cache=False).logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad(set_to_none=True)


@pytest.mark.parametrize("kind", [Engine, SlowEngine])
def test_a_stream_is_the_same_completion(
    model: PreTrainedModel, prompts: list[list[int]], kind: type[BaseEngine]
) -> None:
    engine = kind(model, [EOS], PAD) if kind is Engine else kind(model, [EOS])
    for i, prompt in enumerate(prompts[:6]):
        ((expected,),) = engine.generate([prompt], PARAMS, keys=[i])
        streamed = list(engine.stream(prompt, PARAMS, key=i))
        assert [token for token, _ in streamed] == expected.completion_ids
        assert [lp for _, lp in streamed] == pytest.approx(expected.logprobs, abs=1e-6)


def test_streams_can_be_open_side_by_side_and_abandoned(
    model: PreTrainedModel, prompts: list[list[int]]
) -> None:
    engine = Engine(model, [EOS], PAD, max_slots=4)
    expected = texts(engine.generate(prompts[:3], PARAMS))
    streams: list[Iterator[tuple[int, float]]] = [
        engine.stream(prompt, PARAMS, key=i) for i, prompt in enumerate(prompts[:3])
    ]
    got: list[list[int]] = [[], [], []]
    for _ in range(PARAMS.max_new_tokens):
        for ids, stream in zip(got, streams, strict=True):
            for token, _ in stream:
                ids.append(token)
                break
        # a whole batch in between, and the caller's autograd is as it was
        assert texts(engine.generate(prompts[:3], PARAMS)) == expected
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
    assert got == [group[0] for group in expected]
    abandoned = engine.stream(prompts[0], PARAMS)
    next(abandoned)
    del abandoned
    assert texts(engine.generate(prompts[:3], PARAMS)) == expected
