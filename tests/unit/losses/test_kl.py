from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from instructgpt.losses import kl

REFERENCES = json.loads(
    (Path(__file__).parents[2] / "data" / "paper_unit_reference.json").read_text()
)
KL = REFERENCES["kl_estimators"]


def test_estimators_match_the_reference() -> None:
    ref_logprobs = torch.tensor([-1.0, -2.0, -3.0, -4.0], dtype=torch.float64)
    logprobs = ref_logprobs + torch.tensor(KL["d=logpi-logref"], dtype=torch.float64)
    for estimator, key in (
        (kl.kl_k1, "k1=d"),
        (kl.kl_k2, "k2=d^2/2"),
        (kl.kl_k3, "k3=exp(-d)-1+d"),
    ):
        assert estimator(logprobs, ref_logprobs).tolist() == pytest.approx(KL[key], abs=1e-9)


def test_k1_and_k3_are_unbiased_and_k2_is_not() -> None:
    check = KL["expectation_check"]
    p = torch.tensor(check["p"], dtype=torch.float64)
    log_p, log_q = p.log(), torch.tensor(check["q"], dtype=torch.float64).log()
    true_kl = check["KL(p||q)"]
    assert (p * kl.kl_k1(log_p, log_q)).sum().item() == pytest.approx(true_kl, abs=1e-9)
    assert (p * kl.kl_k3(log_p, log_q)).sum().item() == pytest.approx(true_kl, abs=1e-9)
    biased = check["E_p k2 (biased)"]
    assert (p * kl.kl_k2(log_p, log_q)).sum().item() == pytest.approx(biased, abs=1e-9)


def test_kl_is_positive_where_the_policy_is_surer_than_the_reference() -> None:
    assert kl.kl_k1(torch.tensor([-0.1]), torch.tensor([-2.0])).item() == pytest.approx(1.9)


def test_sequence_kl_sums_over_tokens_and_averages_over_sequences() -> None:
    logprobs_BT = torch.tensor([[9.0, -1.0, -2.0, 9.0], [9.0, -3.0, 9.0, 9.0]])
    ref_logprobs_BT = torch.tensor([[0.0, -1.5, -2.5, 0.0], [0.0, -1.0, 0.0, 0.0]])
    mask_BT = torch.tensor([[0, 1, 1, 0], [0, 1, 0, 0]]).bool()
    got = kl.sequence_kl(logprobs_BT, ref_logprobs_BT, mask_BT, num_sequences=2)
    assert got.item() == pytest.approx(((0.5 + 0.5) + (-2.0)) / 2)


def test_sequence_kl_of_microbatches_adds_up_and_ignores_padding() -> None:
    generator = torch.Generator().manual_seed(0)
    logprobs_BT = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    ref_logprobs_BT = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    mask_BT = torch.rand(4, 6, generator=generator) < 0.6
    whole = kl.sequence_kl(logprobs_BT, ref_logprobs_BT, mask_BT, 4)
    rows = [
        kl.sequence_kl(logprobs_BT[[b]], ref_logprobs_BT[[b]], mask_BT[[b]], 4) for b in range(4)
    ]
    assert sum(row.item() for row in rows) == pytest.approx(whole.item())
    logprobs_BT[~mask_BT] = math.nan
    assert kl.sequence_kl(logprobs_BT, ref_logprobs_BT, mask_BT, 4).item() == whole.item()


@pytest.mark.parametrize("gap", [-1000.0, 1000.0])
def test_extreme_log_ratios_stay_finite(gap: float) -> None:
    logprobs, ref_logprobs = torch.tensor([gap / 2]), torch.tensor([-gap / 2])
    for estimator in (kl.kl_k1, kl.kl_k2, kl.kl_k3):
        assert estimator(logprobs, ref_logprobs).isfinite().all()
    assert kl.kl_k3(logprobs, ref_logprobs).item() >= 0


def test_k3_keeps_small_ratios_exact() -> None:
    # exp(-d) - 1 + d loses all digits at d = 1e-4 in float32; the series says d^2 / 2.
    d = torch.tensor([1e-4])
    assert kl.kl_k3(d, torch.zeros(1)).item() == pytest.approx(0.5e-8, rel=2e-2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_float32(dtype: torch.dtype) -> None:
    logprobs, ref_logprobs = torch.tensor([-300.25], dtype=dtype), torch.tensor([0.5], dtype=dtype)
    for estimator in (kl.kl_k1, kl.kl_k2, kl.kl_k3):
        got = estimator(logprobs, ref_logprobs)
        assert got.dtype == torch.float32
        assert got.isfinite().all()


def test_adaptive_coefficient_matches_the_reference() -> None:
    reference = REFERENCES["adaptive_kl"]
    for key, expected in reference.items():
        if key.startswith("current="):
            got = kl.adapted_kl_coef(
                reference["beta0"],
                float(key.removeprefix("current=")),
                reference["target"],
                reference["horizon"],
                reference["n"],
            )
            assert got == pytest.approx(expected, abs=1e-12)
