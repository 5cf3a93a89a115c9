from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from instructgpt.losses import ppo

REFERENCES = json.loads(
    (Path(__file__).parents[2] / "data" / "paper_unit_reference.json").read_text()
)
POLICY, VALUE = REFERENCES["ppo_clip"], REFERENCES["value_clip"]
MASK_BT = torch.tensor([[0, 1, 1, 1, 0, 0], [0, 0, 0, 1, 0, 0], [0, 1, 1, 1, 1, 1]]).bool()


def policy_batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """logprobs_BT, old_logprobs_BT, advantages_BT, far enough apart to clip both ways."""
    generator = torch.Generator().manual_seed(2)
    old_BT = -2 * torch.rand(3, 6, generator=generator, dtype=torch.float64)
    logprobs_BT = old_BT + 0.4 * torch.randn(3, 6, generator=generator, dtype=torch.float64)
    return logprobs_BT, old_BT, torch.randn(3, 6, generator=generator, dtype=torch.float64)


def value_batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """values_BT, old_values_BT, returns_BT."""
    generator = torch.Generator().manual_seed(7)
    old_BT = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    values_BT = old_BT + 2.0 * torch.randn(3, 6, generator=generator, dtype=torch.float64)
    return values_BT, old_BT, torch.randn(3, 6, generator=generator, dtype=torch.float64)


def counted(*tensors: torch.Tensor) -> list[tuple[float, ...]]:
    return list(zip(*(x[MASK_BT].tolist() for x in tensors), strict=True))


def test_policy_loss_matches_the_reference() -> None:
    logprobs_BT, old_BT, advantages_BT = (
        torch.tensor([POLICY[key]]) for key in ("logp", "old", "adv")
    )
    mask_BT = torch.ones(1, 4, dtype=torch.bool)
    loss, metrics = ppo.clipped_policy_loss(logprobs_BT, old_BT, advantages_BT, mask_BT, 0.2, 4)
    assert loss.item() == pytest.approx(POLICY["loss_mean"], abs=1e-6)
    assert metrics["clip_fraction"].item() == POLICY["clipfrac (loss2>loss1)"]
    approx_kl = POLICY["approxkl=0.5*mean((logp-old)^2)"]
    assert metrics["approx_kl"].item() == pytest.approx(approx_kl)
    assert metrics["ratio_max"].item() == pytest.approx(max(POLICY["ratio"]))
    for t, expected in enumerate(POLICY["loss_per_token"]):
        token, _ = ppo.clipped_policy_loss(
            logprobs_BT, old_BT, advantages_BT, torch.arange(4).unsqueeze(0) == t, 0.2, 1
        )
        assert token.item() == pytest.approx(expected, abs=1e-6)


def test_policy_loss_and_metrics_equal_loops_over_the_counted_tokens() -> None:
    logprobs_BT, old_BT, advantages_BT = policy_batch()
    losses, clipped, squares, ratios = [], [], [], []
    for logprob, old, advantage in counted(logprobs_BT, old_BT, advantages_BT):
        ratio = math.exp(logprob - old)
        cut = min(max(ratio, 0.8), 1.2)
        losses.append(-min(advantage * ratio, advantage * cut))
        clipped.append(advantage * cut < advantage * ratio)
        squares.append(0.5 * (logprob - old) ** 2)
        ratios.append(ratio)
    count = len(losses)
    loss, metrics = ppo.clipped_policy_loss(logprobs_BT, old_BT, advantages_BT, MASK_BT, 0.2, count)
    assert loss.item() == pytest.approx(sum(losses) / count)
    assert 0 < sum(clipped) < count
    assert metrics["clip_fraction"].item() == pytest.approx(sum(clipped) / count)
    assert metrics["approx_kl"].item() == pytest.approx(sum(squares) / count)
    assert metrics["ratio_mean"].item() == pytest.approx(sum(ratios) / count)
    assert metrics["ratio_max"].item() == pytest.approx(max(ratios))


def test_first_minibatch_is_the_vanilla_policy_gradient() -> None:
    logprobs_BT, _, advantages_BT = policy_batch()
    old_BT = logprobs_BT.clone()
    logprobs_BT.requires_grad_()
    loss, metrics = ppo.clipped_policy_loss(logprobs_BT, old_BT, advantages_BT, MASK_BT, 0.2, 9)
    loss.backward()
    assert metrics["ratio_mean"].item() == metrics["ratio_max"].item() == 1.0
    assert metrics["clip_fraction"].item() == metrics["approx_kl"].item() == 0.0
    assert torch.allclose(logprobs_BT.grad, torch.where(MASK_BT, -advantages_BT / 9, 0.0))


def test_the_largest_ratio_is_that_of_a_counted_token() -> None:
    logprobs_BT, old_BT = torch.full((1, 3), -2.0), torch.full((1, 3), -1.0)
    mask_BT = torch.tensor([[False, True, False]])
    _, metrics = ppo.clipped_policy_loss(logprobs_BT, old_BT, torch.ones(1, 3), mask_BT, 0.2, 1)
    assert metrics["ratio_max"].item() == pytest.approx(math.exp(-1))


def test_clipped_tokens_have_no_gradient() -> None:
    logprobs_BT = torch.tensor([POLICY["logp"]], requires_grad=True)
    old_BT, advantages_BT = torch.tensor([POLICY["old"]]), torch.tensor([POLICY["adv"]])
    loss, _ = ppo.clipped_policy_loss(
        logprobs_BT, old_BT, advantages_BT, torch.ones(1, 4, dtype=torch.bool), 0.2, 4
    )
    loss.backward()
    assert (logprobs_BT.grad[0] == 0).tolist() == POLICY["clipped_tokens"]


def test_policy_microbatches_add_up_to_the_whole() -> None:
    batch, count = policy_batch(), MASK_BT.sum()
    loss, metrics = ppo.clipped_policy_loss(*batch, MASK_BT, 0.2, count)
    parts = [
        ppo.clipped_policy_loss(*(x[[b]] for x in batch), MASK_BT[[b]], 0.2, count)
        for b in range(3)
    ]
    assert sum(part.item() for part, _ in parts) == pytest.approx(loss.item())
    for name, value in metrics.items():
        combine = max if name.endswith("_max") else sum
        assert combine(m[name].item() for _, m in parts) == pytest.approx(value.item()), name


def test_policy_padding_changes_nothing_and_may_hold_anything() -> None:
    batch = policy_batch()
    expected, expected_metrics = ppo.clipped_policy_loss(*batch, MASK_BT, 0.2, 9)
    junk = (math.nan, 1e6, math.inf)
    wide = [
        torch.cat([torch.where(MASK_BT, x, bad), torch.full((3, 2), bad).double()], dim=1)
        for x, bad in zip(batch, junk, strict=True)
    ]
    wide[0].requires_grad_()
    wide_mask_BT = torch.cat([MASK_BT, torch.zeros(3, 2, dtype=torch.bool)], dim=1)
    loss, metrics = ppo.clipped_policy_loss(*wide, wide_mask_BT, 0.2, 9)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item())
    for name, value in expected_metrics.items():
        assert metrics[name].item() == pytest.approx(value.item()), name
    assert (wide[0].grad[~wide_mask_BT] == 0).all()


@pytest.mark.parametrize("gap", [-1000.0, 1000.0])
@pytest.mark.parametrize("advantage", [-1.0, 1.0])
def test_extreme_log_ratios_stay_finite(gap: float, advantage: float) -> None:
    logprobs_BT = torch.full((1, 2), gap / 2, requires_grad=True)
    loss, metrics = ppo.clipped_policy_loss(
        logprobs_BT,
        torch.full((1, 2), -gap / 2),
        torch.full((1, 2), advantage),
        torch.ones(1, 2, dtype=torch.bool),
        0.2,
        2,
    )
    loss.backward()
    assert loss.isfinite()
    assert logprobs_BT.grad.isfinite().all()
    assert all(value.isfinite() for value in metrics.values())


def test_gradients_of_the_ppo_losses() -> None:
    logprobs_BT, *rest = policy_batch()
    values_BT, *targets = value_batch()
    assert torch.autograd.gradcheck(
        lambda x: ppo.clipped_policy_loss(x, *rest, MASK_BT, 0.2, 9)[0],
        logprobs_BT.requires_grad_(),
    )
    assert torch.autograd.gradcheck(
        lambda x: ppo.clipped_value_loss(x, *targets, MASK_BT, 0.2, 9)[0],
        values_BT.requires_grad_(),
    )


def test_value_loss_matches_the_reference() -> None:
    values_BT, old_BT, returns_BT = (
        torch.tensor([VALUE[key]]) for key in ("v", "old_v", "returns")
    )
    clip = VALUE["cliprange_value"]
    for t, expected in enumerate(VALUE["loss_per_token(0.5*max)"]):
        mask_BT = torch.arange(3).unsqueeze(0) == t
        token, _ = ppo.clipped_value_loss(values_BT, old_BT, returns_BT, mask_BT, clip, 1)
        assert token.item() == pytest.approx(expected, abs=1e-6)
    everything_BT = torch.ones(1, 3, dtype=torch.bool)
    loss, metrics = ppo.clipped_value_loss(values_BT, old_BT, returns_BT, everything_BT, clip, 3)
    assert loss.item() == pytest.approx(VALUE["mean"], abs=1e-6)
    # 0.9 is held at 0.7, further from 1.0; 0.1 is held at 0.3, nearer to 1.0; 0.5 is not held.
    assert metrics["value_clip_fraction"].item() == pytest.approx(1 / 3)


def test_value_loss_equals_loops_and_its_microbatches_add_up() -> None:
    batch = value_batch()
    losses, clipped = [], []
    for value, old, target in counted(*batch):
        held = old + min(max(value - old, -0.2), 0.2)
        losses.append(0.5 * max((value - target) ** 2, (held - target) ** 2))
        clipped.append((held - target) ** 2 > (value - target) ** 2)
    count = len(losses)
    loss, metrics = ppo.clipped_value_loss(*batch, MASK_BT, 0.2, count)
    assert loss.item() == pytest.approx(sum(losses) / count)
    assert 0 < sum(clipped) < count
    assert metrics["value_clip_fraction"].item() == pytest.approx(sum(clipped) / count)
    parts = [
        ppo.clipped_value_loss(*(x[[b]] for x in batch), MASK_BT[[b]], 0.2, count) for b in range(3)
    ]
    assert sum(part.item() for part, _ in parts) == pytest.approx(loss.item())


def test_value_padding_may_hold_anything() -> None:
    batch = value_batch()
    expected, _ = ppo.clipped_value_loss(*batch, MASK_BT, 0.2, 9)
    junk = [
        torch.where(MASK_BT, x, bad)
        for x, bad in zip(batch, (math.nan, math.inf, math.nan), strict=True)
    ]
    junk[0].requires_grad_()
    loss, _ = ppo.clipped_value_loss(*junk, MASK_BT, 0.2, 9)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item())
    assert (junk[0].grad[~MASK_BT] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_float32(dtype: torch.dtype) -> None:
    policy = [x.to(dtype) for x in policy_batch()]
    value = [x.to(dtype) for x in value_batch()]
    policy_loss, metrics = ppo.clipped_policy_loss(*policy, MASK_BT, 0.2, 9)
    exact_loss, _ = ppo.clipped_policy_loss(*(x.double() for x in policy), MASK_BT, 0.2, 9)
    value_loss, _ = ppo.clipped_value_loss(*value, MASK_BT, 0.2, 9)
    exact_value_loss, _ = ppo.clipped_value_loss(*(x.double() for x in value), MASK_BT, 0.2, 9)
    assert policy_loss.item() == pytest.approx(exact_loss.item(), abs=1e-6)
    assert value_loss.item() == pytest.approx(exact_value_loss.item(), abs=1e-6)
    explained = ppo.explained_variance(value[0], value[2], MASK_BT)
    exact_explained = ppo.explained_variance(value[0].double(), value[2].double(), MASK_BT)
    assert explained.item() == pytest.approx(exact_explained.item(), abs=1e-5)
    outputs = (policy_loss, value_loss, explained, *metrics.values())
    assert all(x.dtype == torch.float32 for x in outputs)


def test_metrics_carry_no_gradient() -> None:
    logprobs_BT, *rest = policy_batch()
    _, metrics = ppo.clipped_policy_loss(logprobs_BT.requires_grad_(), *rest, MASK_BT, 0.2, 9)
    values_BT, *targets = value_batch()
    _, more = ppo.clipped_value_loss(values_BT.requires_grad_(), *targets, MASK_BT, 0.2, 9)
    assert not any(x.requires_grad for x in (*metrics.values(), *more.values()))


def test_explained_variance() -> None:
    values_BT, _, returns_BT = value_batch()
    pairs = counted(values_BT, returns_BT)
    mean = sum(target for _, target in pairs) / len(pairs)
    error = sum((value - target) ** 2 for value, target in pairs)
    spread = sum((target - mean) ** 2 for _, target in pairs)
    got = ppo.explained_variance(values_BT, returns_BT, MASK_BT)
    assert got.item() == pytest.approx(1 - error / spread)
    assert ppo.explained_variance(returns_BT, returns_BT, MASK_BT).item() == 1.0
    constant_BT = torch.full_like(returns_BT, mean)
    assert ppo.explained_variance(constant_BT, returns_BT, MASK_BT).item() == pytest.approx(0.0)
    nothing = ppo.explained_variance(values_BT, torch.ones_like(returns_BT), MASK_BT)
    assert nothing.isnan()
