from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from instructgpt.errors import EngineError
from instructgpt.rollout import sampling
from instructgpt.rollout.plain_decoder import choose_token
from instructgpt.rollout.types import SamplingParams


def params(**changes: float) -> SamplingParams:
    return SamplingParams(max_new_tokens=1, **changes)


# p = 0.1, 0.4, 0.2, 0.3 at temperature 1; cumulative 0.1, 0.5, 0.7, 1.0
LOGITS = torch.tensor([[0.1, 0.4, 0.2, 0.3]]).log()


def choose(uniform: float, settings: SamplingParams) -> tuple[int, float]:
    ids, logprobs = sampling.choose_tokens(LOGITS, torch.tensor([[uniform]]), settings)
    return ids.item(), logprobs.item()


@pytest.mark.parametrize(
    ("uniform", "token"), [(0.0, 0), (0.09, 0), (0.11, 1), (0.49, 1), (0.69, 2), (0.71, 3)]
)
def test_inverse_cdf_in_vocabulary_order(uniform: float, token: int) -> None:
    chosen, logprob = choose(uniform, params())
    assert chosen == token
    assert logprob == pytest.approx(math.log([0.1, 0.4, 0.2, 0.3][token]), abs=1e-6)


def test_top_k_and_top_p_renormalise() -> None:
    # k = 2 keeps 0.4 and 0.3: 4/7 and 3/7
    assert choose(0.0, params(top_k=2)) == (1, pytest.approx(math.log(4 / 7), abs=1e-6))
    assert choose(0.6, params(top_k=2)) == (3, pytest.approx(math.log(3 / 7), abs=1e-6))
    # p = 0.75 needs 0.4 + 0.3 + 0.2: 4/9, 2/9, 3/9 in vocabulary order
    assert choose(0.5, params(top_p=0.75)) == (2, pytest.approx(math.log(2 / 9), abs=1e-6))
    assert choose(0.999, params(top_p=0.75)) == (3, pytest.approx(math.log(3 / 9), abs=1e-6))
    # one token is always kept
    assert choose(0.999, params(top_p=1e-6)) == (1, pytest.approx(0.0, abs=1e-6))
    assert choose(0.999, params(top_k=1)) == (1, pytest.approx(0.0, abs=1e-6))
    # top-p counts after top-k: 4/7 alone reaches 0.55
    assert choose(0.999, params(top_k=2, top_p=0.55)) == (1, pytest.approx(0.0, abs=1e-6))


def test_temperature_sharpens() -> None:
    # at T = 1/2 the probabilities are squared: 1, 16, 4, 9 of 30
    assert choose(1.5 / 30, params(temperature=0.5)) == (1, pytest.approx(math.log(16 / 30)))
    assert choose(0.999, params(temperature=1e-30)) == (1, pytest.approx(0.0))


@pytest.mark.parametrize("name", ["temperature", "top_p"])
def test_the_smallest_number_leaves_the_best_token(name: str) -> None:
    """5e-324 is 0 in float32: 0 / 0 was no number, and a client that asked for it ended a server's
    engine.
    """
    assert choose(0.999, params(**{name: 5e-324})) == (1, pytest.approx(0.0))
    own = torch.tensor([[5e-324]])
    ids, logprobs = sampling.choose_tokens(LOGITS, torch.tensor([[0.999]]), params(), own)
    assert (ids.item(), logprobs.item()) == (1, 0.0)


def test_every_row_may_have_its_own_temperature() -> None:
    """At T = 1/2 and u = 1.5 / 30 token 1 (16 of 30); at T = 1 and u = 0.09 token 0 (0.1)."""
    ids, logprobs = sampling.choose_tokens(
        LOGITS.expand(2, -1),
        torch.tensor([[1.5 / 30], [0.09]]),
        params(),
        torch.tensor([[0.5], [1.0]]),
    )
    assert ids.tolist() == [[1], [0]]
    assert logprobs.flatten().tolist() == pytest.approx([math.log(16 / 30), math.log(0.1)])


def test_greedy_reports_the_models_own_logprob() -> None:
    ids, logprobs = sampling.choose_tokens(LOGITS, None, params(temperature=0.0, top_k=1))
    assert ids.tolist() == [[1]]
    assert logprobs.item() == pytest.approx(math.log(0.4), abs=1e-6)


def test_ties_with_the_kth_token_are_kept() -> None:
    probs = sampling.sampling_probs(torch.tensor([[1.0, 2.0, 1.0, 0.0]]), params(top_k=2))
    assert (probs > 0).tolist() == [[True, True, True, False]]


@pytest.mark.parametrize("uniform", [0.0, 1 - 2.0**-23])
def test_impossible_tokens_are_never_chosen(uniform: float) -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 1.0, -torch.inf]])
    for settings in (params(), params(top_p=0.999), params(temperature=0.3)):
        ids, logprobs = sampling.choose_tokens(logits, torch.tensor([[uniform]]), settings)
        assert ids.item() == (1 if uniform == 0 and settings.top_p == 1 else ids.item())
        assert ids.item() in (1, 3)
        assert math.isfinite(logprobs.item())


def test_batch_sampler_equals_the_plain_definition() -> None:
    rng = np.random.default_rng(0)
    for trial in range(60):
        settings = params(
            temperature=float(rng.choice([0.3, 1.0, 1.7])),
            top_k=int(rng.choice([0, 1, 5, 500])),
            top_p=float(rng.choice([1.0, 0.9, 0.4])),
        )
        logits = rng.normal(0, 3, (5, 97)).astype(np.float32)
        uniforms = np.stack([sampling.request_uniforms(trial, 0, r, 3) for r in range(5)])
        ids, logprobs = sampling.choose_tokens(
            torch.from_numpy(logits), torch.from_numpy(uniforms), settings
        )
        for r in range(5):
            for k in range(3):
                token, logprob = choose_token(
                    logits[r].astype(np.float64), float(uniforms[r, k]), settings
                )
                assert ids[r, k].item() == token
                assert logprobs[r, k].item() == pytest.approx(logprob, abs=1e-5)


@pytest.mark.parametrize("vocabulary", [1, 127, 128, 129, 3000])
def test_processors_choose_the_first_token_beyond_the_uniform_number(vocabulary: int) -> None:
    """In float64, where no rounding makes a neighbour of a token."""
    rng = np.random.default_rng(vocabulary)
    probs = rng.exponential(1.0, (40, vocabulary)) ** 3
    probs[:, 1::3] = 0.0
    probs[20:, -vocabulary // 2 :] = 0.0  # whole blocks, the last one too
    probs[:, 0] += 1e-9
    uniforms = rng.random((40, 7))
    uniforms[:, 0], uniforms[:, 1] = 0.0, 1 - 2.0**-23
    chosen = sampling.bisect_cdf(torch.from_numpy(probs), torch.from_numpy(uniforms))
    for row in range(40):
        ends = np.cumsum(probs[row])
        expected = [int(np.argmax(ends > uniform * ends[-1])) for uniform in uniforms[row]]
        assert chosen[row].tolist() == expected


@pytest.mark.parametrize("vocabulary", [4, 128, 300])
def test_logits_that_are_no_numbers_choose_some_token_without_a_logprob(vocabulary: int) -> None:
    logits = torch.full((2, vocabulary), math.nan)
    ids, logprobs = sampling.choose_tokens(logits, torch.tensor([[0.0], [0.9]]), params())
    assert ((ids >= 0) & (ids < vocabulary)).all()
    assert logprobs.isnan().all()


@pytest.mark.parametrize("vocabulary", [128, 5000])
def test_rounding_never_chooses_an_impossible_token(vocabulary: int) -> None:
    """Float32 sums of a block made in two orders differ; targets lie at every token's end."""
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(64, vocabulary, generator=generator)
    probs[:, 2::3] = 0.0
    probs /= probs.sum(dim=-1, keepdim=True)
    targets = probs.cumsum(dim=-1).clamp(max=1 - 2.0**-23)
    chosen = sampling.bisect_cdf(probs, torch.cat([targets, targets * (1 - 2.0**-23)], dim=-1))
    assert (probs.gather(1, chosen) > 0).all()


@pytest.mark.parametrize("vocabulary", [83, 512, 3000])
def test_accelerators_choose_as_processors_do(vocabulary: int) -> None:
    """In float64: they add in another order, and in float32 a rounding may choose a neighbour."""
    generator = torch.Generator().manual_seed(0)
    probs = torch.randn(50, vocabulary, generator=generator).mul(4).double().softmax(-1)
    probs[:, ::3] = 0.0
    uniforms = torch.from_numpy(
        np.stack([sampling.request_uniforms(0, row, 0, 6) for row in range(50)])
    )
    uniforms[:, 0], uniforms[:, 1] = 0.0, 1 - 2.0**-23
    bisected, scanned = sampling.bisect_cdf(probs, uniforms), sampling.scan_cdf(probs, uniforms)
    assert torch.equal(bisected, scanned)
    assert (probs.gather(1, scanned) > 0).all()


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        (params(), [0, 1, 2, 3, 4, 5]),
        (params(temperature=0.5), [0, 1, 2, 3, 4, 5]),
        (params(temperature=2.0, top_k=3), [1, 3, 5]),
        (params(top_p=0.8), [1, 3, 5]),
    ],
)
def test_frequencies_follow_the_distribution(settings: SamplingParams, kept: list[int]) -> None:
    """Chi-square over 40,000 draws from 400 requests.

    The seed is fixed, so the outcome is too; over random seeds a correct sampler would fail one of
    these four checks with probability 4e-6 (each at the 1 - 1e-6 quantile, Wilson-Hilferty).
    """
    weights = np.array([1.0, 9.0, 2.0, 5.0, 0.5, 4.0])
    logits = torch.from_numpy(np.log(weights / weights.sum())).float()
    uniforms = torch.from_numpy(
        np.concatenate([sampling.request_uniforms(1, key, 0, 100) for key in range(400)])
    )
    ids, _ = sampling.choose_tokens(logits[None], uniforms[None], settings)
    counts = np.bincount(ids[0].numpy(), minlength=6)
    expected = np.zeros(6)
    expected[kept] = weights[kept] ** (1 / settings.temperature)
    expected *= len(uniforms) / expected.sum()
    assert counts[expected == 0].sum() == 0
    statistic = ((counts[kept] - expected[kept]) ** 2 / expected[kept]).sum()
    freedom, z = len(kept) - 1, 4.753
    limit = freedom * (1 - 2 / (9 * freedom) + z * math.sqrt(2 / (9 * freedom))) ** 3
    assert statistic < limit


def test_uniforms_belong_to_the_request() -> None:
    draws = {
        request: sampling.request_uniforms(*request, 4).tobytes()
        for request in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (-1, 0, 0), (0, -1, 0)]
    }
    assert len(set(draws.values())) == len(draws)
    long = sampling.request_uniforms(3, 2**70, 5, 1000)
    assert np.array_equal(sampling.request_uniforms(3, 2**70, 5, 10), long[:10])
    assert long.dtype == np.float32
    assert long.min() >= 0
    assert long.max() <= 1 - 2.0**-23
    assert np.all(long * 2**23 % 1 == 0)


def test_uniforms_do_not_overlap_between_samples() -> None:
    """Sample k starts 2^192 blocks after sample k - 1: no draw of one is found in the other."""
    first, second = (sampling.request_uniforms(0, 0, k, 2000) for k in (0, 1))
    # 23-bit numbers collide by chance about 0.5 times here; an overlap would give hundreds
    assert len(set(first.tolist()) & set(second.tolist())) < 10


@pytest.mark.parametrize(
    "bad",
    [
        {"max_new_tokens": 0},
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_p": math.nan},
    ],
)
def test_impossible_settings_are_refused(bad: dict[str, float]) -> None:
    (name,) = bad
    with pytest.raises(EngineError, match=name):
        SamplingParams(**{"max_new_tokens": 1, **bad})
