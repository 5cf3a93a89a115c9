from __future__ import annotations

import math

import pytest
import torch

from instructgpt.losses import dpo, reward_model

BETA = 0.1


def batch(count: int = 6) -> list[torch.Tensor]:
    """chosen, rejected, reference's chosen and rejected log-probs of whole completions."""
    generator = torch.Generator().manual_seed(6)
    return [
        -20 + 8 * torch.randn(count, generator=generator, dtype=torch.float64) for _ in range(4)
    ]


def brute_force(pairs: list[torch.Tensor], smoothing: float) -> float:
    losses = []
    for chosen, rejected, ref_chosen, ref_rejected in zip(
        *(x.tolist() for x in pairs), strict=True
    ):
        h = BETA * ((chosen - ref_chosen) - (rejected - ref_rejected))
        right, flipped = math.log(1 + math.exp(-h)), math.log(1 + math.exp(h))
        losses.append((1 - smoothing) * right + smoothing * flipped)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_dpo_equals_loops_in_plain_floats(smoothing: float) -> None:
    loss, _ = dpo.dpo_loss(*batch(), BETA, 6, label_smoothing=smoothing)
    assert loss.item() == pytest.approx(brute_force(batch(), smoothing))


def test_one_pair_worked_by_hand() -> None:
    # h = 0.1 * ((-10 + 12) - (-15 + 14)) = 0.3; log(1 + exp(-0.3)) = 0.554355.
    pair = [torch.tensor([x]) for x in (-10.0, -15.0, -12.0, -14.0)]
    loss, metrics = dpo.dpo_loss(*pair, BETA, 1)
    assert loss.item() == pytest.approx(0.554355, abs=1e-6)
    assert metrics["chosen_reward"].item() == pytest.approx(0.2)
    assert metrics["rejected_reward"].item() == pytest.approx(-0.1)
    assert metrics["margin"].item() == pytest.approx(0.3)
    assert metrics["accuracy"].item() == 1.0
    # h / beta = 3 against a target of 1 / (2 * 0.1) = 5.
    ipo, _ = dpo.ipo_loss(*pair, BETA, 1)
    assert ipo.item() == pytest.approx(4.0, rel=1e-5)


def test_a_policy_equal_to_its_reference_costs_ln_2_and_prefers_nothing() -> None:
    chosen_P, rejected_P, *_ = batch()
    loss, metrics = dpo.dpo_loss(chosen_P, rejected_P, chosen_P, rejected_P, BETA, 6)
    assert loss.item() == pytest.approx(math.log(2))
    assert metrics["margin"].item() == metrics["accuracy"].item() == 0.0


def test_gradient_raises_the_chosen_and_lowers_the_rejected() -> None:
    leaves = [x.requires_grad_() for x in batch()]
    loss, _ = dpo.dpo_loss(*leaves, BETA, 6)
    loss.backward()
    assert (leaves[0].grad < 0).all()
    assert torch.allclose(leaves[0].grad, -leaves[1].grad)


def test_ipo_has_its_minimum_at_the_target_margin() -> None:
    zeros_P = torch.zeros(1, dtype=torch.float64)
    at_target_P = torch.tensor([1 / (2 * BETA)], dtype=torch.float64, requires_grad=True)
    loss, _ = dpo.ipo_loss(at_target_P, zeros_P, zeros_P, zeros_P, BETA, 1)
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-12)
    assert at_target_P.grad.item() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("loss_name", ["dpo_loss", "ipo_loss"])
def test_a_ranking_of_k_completions_counts_as_one_prompt(loss_name: str) -> None:
    loss_function = getattr(dpo, loss_name)
    logprobs_N, _, ref_logprobs_N, _ = batch(6)
    pairs = reward_model.ranking_pairs([[2, 1, 3, 3], [1, 2]])
    columns = (
        logprobs_N[pairs.winner_P],
        logprobs_N[pairs.loser_P],
        ref_logprobs_N[pairs.winner_P],
        ref_logprobs_N[pairs.loser_P],
    )
    # Five pairs of the first prompt (one tie is dropped), then the only one of the second.
    alone = [loss_function(*(x[[p]] for x in columns), BETA, 1)[0].item() for p in range(6)]
    loss, _ = loss_function(*columns, BETA, pairs.num_prompts, weight_P=pairs.weight_P)
    assert loss.item() == pytest.approx((sum(alone[:5]) / 5 + alone[5]) / 2)


@pytest.mark.parametrize("loss_name", ["dpo_loss", "ipo_loss"])
def test_metrics_are_weighted_means_of_the_implicit_rewards(loss_name: str) -> None:
    weights = [0.5, 0.5, 1.0, 0.25, 0.25, 0.5]
    chosen, rejected = [], []
    for c, r, ref_c, ref_r in zip(*(x.tolist() for x in batch()), strict=True):
        chosen.append(BETA * (c - ref_c))
        rejected.append(BETA * (r - ref_r))
    expected = {
        "chosen_reward": chosen,
        "rejected_reward": rejected,
        "margin": [c - r for c, r in zip(chosen, rejected, strict=True)],
        "accuracy": [float(c > r) for c, r in zip(chosen, rejected, strict=True)],
    }
    _, metrics = getattr(dpo, loss_name)(*batch(), BETA, 3, weight_P=torch.tensor(weights))
    assert metrics.keys() == expected.keys()
    for name, values in expected.items():
        mean = sum(w * x for w, x in zip(weights, values, strict=True)) / 3
        assert metrics[name].item() == pytest.approx(mean), name


@pytest.mark.parametrize("loss_name", ["dpo_loss", "ipo_loss"])
def test_microbatches_of_pairs_add_up(loss_name: str) -> None:
    loss_function, pairs = getattr(dpo, loss_name), batch()
    loss, metrics = loss_function(*pairs, BETA, 6)
    parts = [loss_function(*(x[rows] for x in pairs), BETA, 6) for rows in torch.arange(6).split(4)]
    assert sum(part.item() for part, _ in parts) == pytest.approx(loss.item())
    for name, value in metrics.items():
        assert sum(m[name].item() for _, m in parts) == pytest.approx(value.item()), name


@pytest.mark.parametrize("gap", [-1000.0, 1000.0])
def test_extreme_log_ratios_stay_finite(gap: float) -> None:
    zeros_P = torch.zeros(1)
    for loss_function in (dpo.dpo_loss, dpo.ipo_loss):
        chosen_P = torch.tensor([gap], requires_grad=True)
        loss, metrics = loss_function(chosen_P, -chosen_P, zeros_P, zeros_P, 1.0, 1)
        loss.backward()
        assert loss.isfinite()
        assert chosen_P.grad.isfinite().all()
        assert all(x.isfinite() and not x.requires_grad for x in metrics.values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_float32(dtype: torch.dtype) -> None:
    pairs = [x.to(dtype) for x in batch()]
    for loss_function in (dpo.dpo_loss, dpo.ipo_loss):
        loss, metrics = loss_function(*pairs, BETA, 6)
        exact, _ = loss_function(*(x.double() for x in pairs), BETA, 6)
        assert all(x.dtype == torch.float32 for x in (loss, *metrics.values()))
        assert loss.item() == pytest.approx(exact.item(), rel=1e-5)


def test_gradients_of_the_preference_losses() -> None:
    leaves = [x.requires_grad_() for x in batch(3)]
    for loss_function in (dpo.dpo_loss, dpo.ipo_loss):
        assert torch.autograd.gradcheck(
            lambda *x, f=loss_function: f(*x, BETA, 3, weight_P=torch.tensor([1.0, 0.5, 0.5]))[0],
            leaves,
        )
