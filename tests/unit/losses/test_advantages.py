from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from instructgpt.losses import advantages

REFERENCES = json.loads(
    (Path(__file__).parents[2] / "data" / "paper_unit_reference.json").read_text()
)
SPANS = [(2, 6), (3, 4), (1, 8), (5, 8)]
"""First and one past the last completion position of four ragged rows."""


def ragged(width: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rewards and values with junk outside the completions, and their mask."""
    generator = torch.Generator().manual_seed(1)
    rewards_BT = torch.randn(4, 8, generator=generator, dtype=torch.float64)
    values_BT = torch.randn(4, 8, generator=generator, dtype=torch.float64)
    junk_BT = torch.full((4, width - 8), 1e3, dtype=torch.float64)
    rewards_BT, values_BT = torch.cat([rewards_BT, junk_BT], 1), torch.cat([values_BT, junk_BT], 1)
    mask_BT = torch.zeros(4, width, dtype=torch.bool)
    for b, (first, end) in enumerate(SPANS):
        mask_BT[b, first:end] = True
    return rewards_BT, values_BT, mask_BT


def brute_force_advantage(
    rewards: list[float], values: list[float], t: int, gamma: float, lam: float
) -> float:
    """A_t as the double sum: lambda-weighted n-step TD errors, each written out."""
    total = 0.0
    for k in range(t, len(rewards)):
        next_value = values[k + 1] if k + 1 < len(values) else 0.0
        total += (gamma * lam) ** (k - t) * (rewards[k] + gamma * next_value - values[k])
    return total


def test_rewards_match_the_reference() -> None:
    reference = REFERENCES["per_token_reward"]
    kl_BT = torch.tensor([reference["logp"]]) - torch.tensor([reference["ref_logp"]])
    got_BT = advantages.shape_rewards(
        torch.tensor([reference["score"]]), kl_BT, torch.ones(1, 3).bool(), reference["beta"]
    )
    assert got_BT[0].tolist() == pytest.approx(reference["rewards"], abs=1e-6)
    assert got_BT.sum().item() == pytest.approx(reference["sum"], abs=1e-6)


def test_rewards_sum_to_the_score_minus_the_kl_penalty() -> None:
    kl_BT, _, mask_BT = ragged(width=10)
    score_B = torch.tensor([1.5, -2.0, 0.25, 3.0], dtype=torch.float64)
    got_BT = advantages.shape_rewards(score_B, kl_BT, mask_BT, beta=0.3)
    for b, (first, end) in enumerate(SPANS):
        expected = score_B[b].item() - 0.3 * sum(kl_BT[b, first:end].tolist())
        assert got_BT[b].sum().item() == pytest.approx(expected)


def test_the_score_stands_on_the_last_completion_token_alone() -> None:
    _, _, mask_BT = ragged(width=10)
    got_BT = advantages.shape_rewards(torch.ones(4), torch.zeros(4, 10), mask_BT, beta=0.1)
    expected_BT = torch.zeros(4, 10)
    for b, (_, end) in enumerate(SPANS):
        expected_BT[b, end - 1] = 1.0
    assert torch.equal(got_BT, expected_BT)


def test_a_policy_that_leaves_the_reference_pays() -> None:
    kl_BT, mask_BT = torch.tensor([[0.0, 2.0, 0.0]]), torch.tensor([[False, True, True]])
    got_BT = advantages.shape_rewards(torch.zeros(1), kl_BT, mask_BT, beta=0.5)
    assert got_BT.tolist() == [[0.0, -1.0, 0.0]]


def test_a_row_without_completion_tokens_is_an_error() -> None:
    mask_BT = torch.tensor([[True, False], [False, False]])
    with pytest.raises(ValueError, match="no token"):
        advantages.shape_rewards(torch.zeros(2), torch.zeros(2, 2), mask_BT, beta=0.1)


def test_last_position() -> None:
    mask_BT = torch.tensor([[0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 1, 0]]).bool()
    assert advantages.last_position(mask_BT).tolist() == [2, 3, 2]


def test_gae_matches_the_reference() -> None:
    reference = REFERENCES["gae"]
    rewards_BT, values_BT = (
        torch.tensor([reference["rewards"]]),
        torch.tensor([reference["values"]]),
    )
    for lam in (0.0, 0.95, 1.0):
        expected = reference[f"gamma=1.0,lambda={lam}"]
        advantages_BT, returns_BT = advantages.gae(
            rewards_BT, values_BT, torch.ones(1, 4).bool(), gamma=1.0, lam=lam
        )
        assert advantages_BT[0].tolist() == pytest.approx(expected["advantages"], abs=1e-6)
        assert returns_BT[0].tolist() == pytest.approx(expected["returns"], abs=1e-6)


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.7), (0.99, 1.0), (1.0, 0.0)])
def test_gae_equals_the_double_sum_on_ragged_rows(gamma: float, lam: float) -> None:
    rewards_BT, values_BT, mask_BT = ragged(width=11)
    advantages_BT, returns_BT = advantages.gae(rewards_BT, values_BT, mask_BT, gamma, lam)
    for b, (first, end) in enumerate(SPANS):
        rewards, values = rewards_BT[b, first:end].tolist(), values_BT[b, first:end].tolist()
        for t in range(end - first):
            expected = brute_force_advantage(rewards, values, t, gamma, lam)
            assert advantages_BT[b, first + t].item() == pytest.approx(expected)
            assert returns_BT[b, first + t].item() == pytest.approx(expected + values[t])
    assert (advantages_BT[~mask_BT] == 0).all()
    assert (returns_BT[~mask_BT] == 0).all()


def test_undiscounted_returns_with_lambda_1_are_the_rewards_to_come() -> None:
    rewards_BT, values_BT, mask_BT = ragged()
    _, returns_BT = advantages.gae(rewards_BT, values_BT, mask_BT, gamma=1.0, lam=1.0)
    for b, (first, end) in enumerate(SPANS):
        for t in range(first, end):
            assert returns_BT[b, t].item() == pytest.approx(rewards_BT[b, t:end].sum().item())


def test_a_right_critic_sees_no_advantage() -> None:
    rewards_BT, _, mask_BT = ragged()
    values_BT = torch.zeros_like(rewards_BT)
    for b, (first, end) in enumerate(SPANS):
        for t in range(first, end):
            values_BT[b, t] = rewards_BT[b, t:end].sum()
    advantages_BT, _ = advantages.gae(rewards_BT, values_BT, mask_BT, gamma=1.0, lam=0.95)
    assert torch.allclose(advantages_BT, torch.zeros_like(advantages_BT), atol=1e-12)


def test_extra_padding_and_its_content_change_nothing() -> None:
    narrow = advantages.gae(*ragged(width=8), gamma=0.9, lam=0.7)
    rewards_BT, values_BT, mask_BT = ragged(width=12)
    rewards_BT[~mask_BT] = torch.nan
    values_BT[~mask_BT] = torch.inf
    wide = advantages.gae(rewards_BT, values_BT, mask_BT, gamma=0.9, lam=0.7)
    for narrow_BT, wide_BT in zip(narrow, wide, strict=True):
        assert torch.equal(wide_BT[:, :8], narrow_BT)
        assert (wide_BT[:, 8:] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_float32(dtype: torch.dtype) -> None:
    rewards_BT, values_BT, mask_BT = (x.to(dtype) if x.is_floating_point() else x for x in ragged())
    shaped_BT = advantages.shape_rewards(rewards_BT[:, 0], values_BT, mask_BT, beta=0.02)
    ruled_B = advantages.apply_missing_eos(rewards_BT[:, 0], mask_BT[:, 0], "none", 0.0)
    outputs = (
        ruled_B,
        shaped_BT,
        *advantages.gae(rewards_BT, values_BT, mask_BT, gamma=1.0, lam=0.95),
    )
    assert all(x.dtype == torch.float32 for x in outputs)


def test_missing_eos_rules() -> None:
    score_B, has_eos_B = torch.tensor([1.0, -3.0, 0.5]), torch.tensor([True, False, False])
    none_B = advantages.apply_missing_eos(score_B, has_eos_B, "none", 7.0)
    fixed_B = advantages.apply_missing_eos(score_B, has_eos_B, "fixed", -1.0)
    penalty_B = advantages.apply_missing_eos(score_B, has_eos_B, "penalty", 1.0)
    assert none_B.tolist() == [1.0, -3.0, 0.5]
    assert fixed_B.tolist() == [1.0, -1.0, -1.0]
    assert penalty_B.tolist() == [1.0, -4.0, -0.5]
    with pytest.raises(ValueError, match="unknown rule"):
        advantages.apply_missing_eos(score_B, has_eos_B, "drop", 0.0)  # type: ignore[arg-type]
