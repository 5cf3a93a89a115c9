"""Requests that come and go: each gets what `generate` gives it alone, whoever else is there."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from instructgpt.errors import EngineError
from instructgpt.rollout.engine import BaseEngine, Engine
from instructgpt.rollout.live_batch import LiveBatch, NewToken
from instructgpt.rollout.slow_engine import SlowEngine
from instructgpt.rollout.types import LogitChanges, SamplingParams

VOCAB, PAD, EOS = 48, 0, 1

Tokens = dict[tuple[int, int], list[NewToken]]


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
            pad_token_id=PAD,
            eos_token_id=EOS,
            bos_token_id=3,
        )
    ).eval()
    bias = torch.zeros(VOCAB)
    bias[EOS] = 2.0
    built.get_output_embeddings().bias = torch.nn.Parameter(bias)
    return built


def crowd(count: int) -> list[tuple[list[int], SamplingParams, int]]:
    """Prompts, settings and sample counts of all kinds: (prompt, params, n)."""
    rng = random.Random(3)
    requests = []
    for i in range(count):
        params = SamplingParams(
            max_new_tokens=rng.randint(1, 14),
            temperature=rng.choice([0.0, 0.6, 1.0, 1.3]),
            top_k=rng.choice([0, 9]),
            top_p=rng.choice([1.0, 0.8]),
            seed=i,
        )
        prompt = [rng.randrange(4, VOCAB) for _ in range(rng.randint(1, 20))]
        requests.append((prompt, params, rng.randint(1, 3)))
    return requests


def engine_of(kind: str, model: PreTrainedModel) -> BaseEngine:
    return SlowEngine(model, [EOS]) if kind == "slow" else Engine(model, [EOS], PAD, max_slots=5)


def collect(live: LiveBatch, into: Tokens) -> None:
    for token in live.step():
        into[token.request, token.sample].append(token)


@pytest.mark.parametrize("kind", ["slots", "slow"])
def test_everybody_gets_what_they_get_alone(model: PreTrainedModel, kind: str) -> None:
    engine, rng = engine_of(kind, model), random.Random(0)
    live, got = LiveBatch(engine), defaultdict(list)
    requests = crowd(14)
    numbers: list[int] = []
    while len(numbers) < len(requests) or not live.idle:
        if len(numbers) < len(requests) and (live.idle or rng.random() < 0.4):
            prompt, params, n = requests[len(numbers)]
            numbers.append(live.add(prompt, params, n=n, key=7))
        collect(live, got)
    for number, (prompt, params, n) in zip(numbers, requests, strict=True):
        (alone,) = engine.generate([prompt], params, n=n, keys=[7])
        for sample, rollout in enumerate(alone):
            tokens = got.pop((number, sample))
            assert [t.token_id for t in tokens] == rollout.completion_ids
            assert [t.logprob for t in tokens] == pytest.approx(rollout.logprobs, abs=1e-4)
            reasons = [t.finish_reason for t in tokens]
            assert reasons == [None] * (len(tokens) - 1) + [rollout.finish_reason]
    assert not got


@pytest.mark.parametrize("kind", ["slots", "slow"])
def test_whoever_leaves_takes_nothing_from_those_who_stay(
    model: PreTrainedModel, kind: str
) -> None:
    engine, requests = engine_of(kind, model), crowd(10)
    for seed in range(6):
        rng = random.Random(seed)
        live, got = LiveBatch(engine), defaultdict(list)
        numbers = [live.add(prompt, params, n=n) for prompt, params, n in requests]
        gone: dict[tuple[int, int], int] = {}
        while not live.idle:
            if rng.random() < 0.5:
                victim = rng.randrange(10)
                n = requests[victim][2]
                sample = rng.choice([None, rng.randrange(n)])
                for one in range(n) if sample is None else [sample]:
                    gone.setdefault((victim, one), len(got[numbers[victim], one]))
                live.cancel(numbers[victim], sample)
                live.cancel(numbers[victim], sample)  # twice is once
                if live.idle:
                    break
            collect(live, got)
        for i, (prompt, params, n) in enumerate(requests):
            (alone,) = engine.generate([prompt], params, n=n, keys=[0])
            for sample, rollout in enumerate(alone):
                ids = [t.token_id for t in got[numbers[i], sample]]
                length = gone.get((i, sample), len(rollout.completion_ids))
                assert ids == rollout.completion_ids[:length]


def test_a_cancelled_request_frees_its_slots_for_the_next_step(model: PreTrainedModel) -> None:
    live = LiveBatch(Engine(model, [], PAD, max_slots=2))
    params = SamplingParams(max_new_tokens=40)
    first = live.add([5, 6], params, n=2)
    live.step()
    live.step()
    waiting = live.add([7], params)
    assert {t.request for t in live.step()} == {first}
    live.cancel(first)
    assert {t.request for t in live.step()} == {waiting}
    assert not live.idle
    live.cancel(waiting)
    assert live.idle


@pytest.mark.parametrize("kind", ["slots", "slow"])
def test_log_probs_of_the_model_whatever_the_settings(model: PreTrainedModel, kind: str) -> None:
    live, got = LiveBatch(engine_of(kind, model)), defaultdict(list)
    params = SamplingParams(max_new_tokens=8, temperature=0.5, top_k=6, seed=2)
    asked = live.add([9, 8, 7], params, n=2, top=3, ignore_eos=True)
    live.add([4, 4], SamplingParams(max_new_tokens=8, temperature=0.0))
    while not live.idle:
        collect(live, got)
    for sample in range(2):
        tokens = got[asked, sample]
        ids = [t.token_id for t in tokens]
        assert len(ids) == 8
        with torch.no_grad():
            logits = model(torch.tensor([[9, 8, 7, *ids]])).logits[0, 2:-1]
        expected = logits.log_softmax(-1)
        best = expected.topk(3, dim=-1)
        for t, token in enumerate(tokens):
            said = token.model_logprob
            assert said is not None
            assert said.logprob == pytest.approx(float(expected[t, token.token_id]), abs=1e-4)
            assert [i for i, _ in said.top] == best.indices[t].tolist()
            assert [v for _, v in said.top] == pytest.approx(best.values[t].tolist(), abs=1e-4)
    assert all(t.model_logprob is None for (r, _), ts in got.items() if r != asked for t in ts)


@pytest.mark.parametrize("kind", ["slots", "slow"])
def test_penalties_and_biases_change_the_logits_of_their_own_request(
    model: PreTrainedModel, kind: str
) -> None:
    """Greedy, so that the definition can be followed by hand on full forward passes."""
    live, got = LiveBatch(engine_of(kind, model)), defaultdict(list)
    greedy = SamplingParams(max_new_tokens=12, temperature=0.0)
    changes = LogitChanges(presence=0.9, frequency=0.7, bias={11: 1.5, 20: -100.0})
    changed = live.add([9, 8, 7], greedy, changes=changes, ignore_eos=True)
    plain = live.add([9, 8, 7], greedy, ignore_eos=True)
    while not live.idle:
        collect(live, got)
    for number, active in ((changed, True), (plain, False)):
        ids = [9, 8, 7]
        for _ in range(12):
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, -1]
            if active:
                logits[11] += 1.5
                logits[20] -= 100
                for token in set(ids[3:]):
                    logits[token] -= 0.9 + 0.7 * ids[3:].count(token)
            ids.append(int(logits.argmax()))
        assert [t.token_id for t in got[number, 0]] == ids[3:]
    assert [t.token_id for t in got[changed, 0]] != [t.token_id for t in got[plain, 0]]
    with pytest.raises(EngineError, match="token 48"):
        live.add([5], greedy, changes=LogitChanges(bias={48: 1.0}))


def test_what_cannot_be_served_is_refused_at_once_and_disturbs_nobody(
    model: PreTrainedModel,
) -> None:
    live = LiveBatch(Engine(model, [EOS], PAD))
    kept = live.add([5], SamplingParams(max_new_tokens=3), ignore_eos=True)
    with pytest.raises(EngineError, match="prompt 0 has 64 tokens"):
        live.add([5] * 64, SamplingParams(max_new_tokens=3))
    tokens = []
    while not live.idle:
        tokens += live.step()
    assert [t.request for t in tokens] == [kept] * 3
    assert (live.stats.prompt_tokens, live.stats.generated_tokens) == (1, 3)
