from __future__ import annotations

import json
import math
import statistics
from pathlib import Path

import pytest
import torch

from instructgpt.losses import masked

REFERENCES = json.loads(
    (Path(__file__).parents[2] / "data" / "paper_unit_reference.json").read_text()
)
WHITEN = REFERENCES["whiten"]


def ragged() -> tuple[torch.Tensor, torch.Tensor, list[float]]:
    """x_BT, mask_BT and the counted entries as plain floats; padding holds nan."""
    x_BT = 5 + torch.randn(4, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    mask_BT = torch.tensor([[0, 1, 1, 1, 0, 0, 0], [0, 0, 1, 0, 0, 0, 0], [1] * 7, [0] * 7]).bool()
    counted = [
        x
        for row, kept in zip(x_BT.tolist(), mask_BT.tolist(), strict=True)
        for x, keep in zip(row, kept, strict=True)
        if keep
    ]
    x_BT[~mask_BT] = torch.nan
    return x_BT, mask_BT, counted


def test_sum_mean_and_population_variance_of_the_counted_entries() -> None:
    x_BT, mask_BT, counted = ragged()
    assert masked.masked_sum(x_BT, mask_BT).item() == pytest.approx(sum(counted))
    assert masked.masked_mean(x_BT, mask_BT).item() == pytest.approx(statistics.mean(counted))
    assert masked.masked_var(x_BT, mask_BT).item() == pytest.approx(statistics.pvariance(counted))
    assert masked.masked_sum(x_BT, mask_BT, dim=1)[3].item() == 0.0
    assert masked.masked_sum(x_BT, mask_BT, dim=1)[1].item() == x_BT[1, 2].item()


def test_paper_reference_mean_and_variance() -> None:
    x_BT, mask_BT = torch.tensor(WHITEN["x"]), torch.tensor(WHITEN["mask"]).bool()
    mean, variance = WHITEN["masked mean,var"]
    assert masked.masked_mean(x_BT, mask_BT).item() == pytest.approx(mean, abs=1e-6)
    assert masked.masked_var(x_BT, mask_BT).item() == pytest.approx(variance, abs=1e-6)


def test_whitening_matches_the_reference() -> None:
    x_BT = torch.tensor(WHITEN["x"])
    everything_BT = torch.ones_like(x_BT, dtype=torch.bool)
    shape_only = "shift_mean=False (blog prints [[0.0508,0.4381,0.8254],...])"
    for shift_mean, mask_BT, key in (
        (True, everything_BT, "shift_mean=True"),
        (False, everything_BT, shape_only),
        (True, torch.tensor(WHITEN["mask"]).bool(), "masked shift_mean=True, pads set to 0"),
    ):
        got_BT = masked.masked_whiten(x_BT, mask_BT, shift_mean)
        assert torch.allclose(got_BT, torch.tensor(WHITEN[key]), atol=2e-6)


def test_whitened_entries_have_mean_0_and_std_1_and_padding_does_not_shift_them() -> None:
    x_BT, mask_BT, counted = ragged()
    got_BT = masked.masked_whiten(x_BT, mask_BT)
    whitened = got_BT[mask_BT].tolist()
    assert statistics.mean(whitened) == pytest.approx(0.0, abs=1e-9)
    assert statistics.pstdev(whitened) == pytest.approx(1.0, abs=1e-6)
    assert (got_BT[~mask_BT] == 0).all()
    wider_BT = torch.cat([x_BT, torch.full((4, 5), 1e6, dtype=x_BT.dtype)], dim=1)
    wider_mask_BT = torch.cat([mask_BT, torch.zeros(4, 5, dtype=torch.bool)], dim=1)
    wider_got_BT = masked.masked_whiten(wider_BT, wider_mask_BT)
    assert torch.allclose(wider_got_BT[:, :7], got_BT, atol=1e-12)
    assert len(counted) == 11


def test_rewards_keep_their_mean_and_sign() -> None:
    x_BT, mask_BT, counted = ragged()
    got_BT = masked.masked_whiten(x_BT, mask_BT, shift_mean=False)
    whitened = got_BT[mask_BT].tolist()
    assert statistics.mean(whitened) == pytest.approx(statistics.mean(counted))
    assert statistics.pstdev(whitened) == pytest.approx(1.0, abs=1e-6)
    assert (got_BT[~mask_BT] == 0).all()


def test_whitening_parts_by_the_moments_of_the_whole() -> None:
    x_BT, mask_BT, _ = ragged()
    whole_BT = masked.masked_whiten(x_BT, mask_BT)
    moments = {"mean": masked.masked_mean(x_BT, mask_BT), "var": masked.masked_var(x_BT, mask_BT)}
    parts = [
        masked.masked_whiten(x, mask, **moments)
        for x, mask in zip(x_BT.split(2), mask_BT.split(2), strict=True)
    ]
    assert torch.allclose(torch.cat(parts), whole_BT, atol=1e-12)


def test_constant_entries_whiten_to_zero() -> None:
    got_BT = masked.masked_whiten(torch.full((2, 3), 7.0), torch.ones(2, 3, dtype=torch.bool))
    assert torch.equal(got_BT, torch.zeros(2, 3))


def test_mean_by_a_global_count_adds_up_over_microbatches() -> None:
    reference = REFERENCES["loss_reduction"]
    x_BT, mask_BT = torch.tensor(reference["loss"]), torch.tensor(reference["mask"]).bool()
    parts = [
        masked.masked_mean(x, mask, mask_BT.sum()).item()
        for x, mask in zip(x_BT.split(1), mask_BT.split(1), strict=True)
    ]
    assert sum(parts) == pytest.approx(reference["token_mean"])


def test_the_mean_of_nothing_is_not_a_number() -> None:
    nothing_BT = torch.zeros(2, 3, dtype=torch.bool)
    assert math.isnan(masked.masked_mean(torch.ones(2, 3), nothing_BT).item())
    assert masked.masked_mean(torch.ones(2, 3), nothing_BT, count=5).item() == 0.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_reduced_in_float32(dtype: torch.dtype) -> None:
    x_BT, mask_BT, _ = ragged()
    x_BT = x_BT.to(dtype)
    exact_BT = x_BT.double()
    for reduce in (masked.masked_sum, masked.masked_mean, masked.masked_var, masked.masked_whiten):
        got = reduce(x_BT, mask_BT)
        assert got.dtype == torch.float32
        assert torch.allclose(got.double(), reduce(exact_BT, mask_BT), rtol=1e-5, atol=1e-5)


def test_gradient_is_zero_outside_the_mask() -> None:
    x_BT, mask_BT, counted = ragged()
    x_BT = x_BT.nan_to_num(0.0).requires_grad_()
    masked.masked_mean(x_BT, mask_BT).backward()
    assert torch.equal(x_BT.grad, mask_BT.double() / len(counted))
