from __future__ import annotations

import json
import math
from itertools import combinations
from pathlib import Path

import pytest
import torch

from instructgpt.losses import reward_model

REFERENCES = json.loads(
    (Path(__file__).parents[2] / "data" / "paper_unit_reference.json").read_text()
)
RANKING = REFERENCES["rm_ranking_loss"]
RANKS = RANKING["ranks(1=best, tie B=C)"]
RAGGED_RANKS = [[2, 1, 3, 3], [1, 2], [4, 1, 2, 2, 3], [1, 1, 1]]
"""Four prompts, K = 4, 2, 5, 3; the last is all ties."""


def loss_of(scores: list[float], ranks: list[list[int]], normaliser: str) -> float:
    pairs = reward_model.ranking_pairs(ranks, normaliser)
    scores_N = torch.tensor(scores, dtype=torch.float64)
    return reward_model.ranking_loss(scores_N, pairs, pairs.num_prompts).item()


def brute_force(scores: list[float], ranks: list[list[int]], all_pairs: bool) -> float:
    """Eq. 1 in loops: prompts one by one, every pair written out."""
    first, losses = 0, []
    for ranking in ranks:
        mine = scores[first : first + len(ranking)]
        first += len(ranking)
        terms = []
        for i in range(len(ranking)):
            for j in range(len(ranking)):
                if ranking[i] < ranking[j]:
                    terms.append(math.log(1 + math.exp(-(mine[i] - mine[j]))))
        if terms:
            k = len(ranking)
            losses.append(sum(terms) / (k * (k - 1) / 2 if all_pairs else len(terms)))
    return sum(losses) / len(losses)


def random_scores(count: int = 14, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_pairs_match_the_reference_and_ties_are_dropped() -> None:
    pairs = reward_model.ranking_pairs([RANKS])
    got = list(zip(pairs.winner_P.tolist(), pairs.loser_P.tolist(), strict=True))
    assert got == [tuple(pair) for pair in RANKING["pairs(winner,loser)"]]
    assert len(got) == RANKING["n_pairs_after_dropping_ties"]
    assert (pairs.num_prompts, pairs.num_ties) == (1, 1)


def test_loss_matches_the_reference_in_both_normalisers() -> None:
    scores = RANKING["scores"]
    mean = loss_of(scores, [RANKS], "valid_pairs")
    assert mean == pytest.approx(RANKING["mean_over_valid_pairs"], abs=1e-8)
    paper = loss_of(scores, [RANKS], "all_pairs")
    assert paper == pytest.approx(RANKING["sum/C(K,2)"], abs=1e-8)


def test_margins_match_the_reference_per_pair() -> None:
    pairs = reward_model.ranking_pairs([RANKS])
    margin_P = reward_model.margins(torch.tensor(RANKING["scores"]), pairs)
    per_pair = [math.log(1 + math.exp(-margin)) for margin in margin_P.tolist()]
    assert per_pair == pytest.approx(RANKING["per_pair"], abs=1e-6)


def test_nine_completions_make_36_pairs_and_64_prompts_at_most_2304() -> None:
    scores = torch.linspace(2, -2, 9, dtype=torch.float64).tolist()
    nine = list(range(1, 10))
    assert len(reward_model.ranking_pairs([nine]).winner_P) == RANKING["K=9 pairs"]
    batch = reward_model.ranking_pairs([nine] * 64)
    assert len(batch.winner_P) == RANKING["max comparisons per batch of 64 prompts"]
    expected = RANKING["K=9 linspace(2,-2) no ties mean"]
    for normaliser in ("valid_pairs", "all_pairs"):
        assert loss_of(scores, [nine], normaliser) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("normaliser", ["valid_pairs", "all_pairs"])
def test_loss_equals_the_double_loop_over_prompts_and_pairs(normaliser: str) -> None:
    scores = random_scores().tolist()
    expected = brute_force(scores, RAGGED_RANKS, all_pairs=normaliser == "all_pairs")
    assert loss_of(scores, RAGGED_RANKS, normaliser) == pytest.approx(expected)


def test_equal_scores_cost_ln_2() -> None:
    got = loss_of([0.7] * 14, RAGGED_RANKS, "valid_pairs")
    assert got == pytest.approx(RANKING["loss_at_equal_scores"], abs=1e-8)


def test_only_differences_matter_and_gradients_of_a_prompt_sum_to_zero() -> None:
    pairs = reward_model.ranking_pairs(RAGGED_RANKS)
    scores_N = random_scores().requires_grad_()
    loss = reward_model.ranking_loss(scores_N, pairs, pairs.num_prompts)
    shifted = reward_model.ranking_loss(scores_N + 17.0, pairs, pairs.num_prompts)
    assert shifted.item() == pytest.approx(loss.item())
    loss.backward()
    for gradient_K in scores_N.grad.split([len(ranking) for ranking in RAGGED_RANKS]):
        assert gradient_K.sum().item() == pytest.approx(0.0, abs=1e-12)
    assert scores_N.grad[0].item() < 0 or scores_N.grad[1].item() < 0


def test_the_winner_is_pushed_up_and_the_loser_down() -> None:
    pairs = reward_model.ranking_pairs([[2, 1]])
    scores_N = torch.zeros(2, requires_grad=True)
    reward_model.ranking_loss(scores_N, pairs, 1).backward()
    assert scores_N.grad.tolist() == pytest.approx([0.5, -0.5])


def test_order_of_the_k_completions_does_not_matter() -> None:
    scores, ranks = random_scores(5).tolist(), [4, 1, 2, 2, 3]
    expected = loss_of(scores, [ranks], "all_pairs")
    for order in ([4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
        permuted = loss_of([scores[i] for i in order], [[ranks[i] for i in order]], "all_pairs")
        assert permuted == pytest.approx(expected)


def test_every_prompt_counts_once_whatever_its_k() -> None:
    pairs = reward_model.ranking_pairs(RAGGED_RANKS)
    prompt_N = torch.repeat_interleave(torch.arange(4), torch.tensor([4, 2, 5, 3]))
    weight_of_prompt = torch.zeros(4).index_add(0, prompt_N[pairs.winner_P], pairs.weight_P)
    assert weight_of_prompt.tolist() == pytest.approx([1.0, 1.0, 1.0, 0.0])
    assert (prompt_N[pairs.winner_P] == prompt_N[pairs.loser_P]).all()
    assert (pairs.num_prompts, pairs.num_ties) == (3, 5)


def test_microbatches_of_prompts_add_up() -> None:
    scores_N = random_scores()
    whole = reward_model.ranking_pairs(RAGGED_RANKS)
    num_pairs = len(whole.winner_P)
    expected = reward_model.ranking_loss(scores_N, whole, whole.num_prompts).item()
    expected_accuracy, expected_metrics = reward_model.ranking_accuracy(scores_N, whole, num_pairs)
    loss = accuracy = margin = 0.0
    for first, end, start, stop in ((0, 1, 0, 4), (1, 4, 4, 14)):
        pairs = reward_model.ranking_pairs(RAGGED_RANKS[first:end])
        part_N = scores_N[start:stop]
        loss += reward_model.ranking_loss(part_N, pairs, whole.num_prompts).item()
        part_accuracy, metrics = reward_model.ranking_accuracy(part_N, pairs, num_pairs)
        accuracy += part_accuracy.item()
        margin += metrics["margin"].item()
    assert loss == pytest.approx(expected)
    assert accuracy == pytest.approx(expected_accuracy.item())
    assert margin == pytest.approx(expected_metrics["margin"].item())


def test_accuracy_is_strict_over_the_pairs_that_people_did_not_tie() -> None:
    scores, ranks = [1.0, 1.0, 3.0, -2.0], [1, 2, 3, 3]
    right = ties = total = 0
    for i, j in combinations(range(4), 2):
        if ranks[i] != ranks[j]:
            winner, loser = (i, j) if ranks[i] < ranks[j] else (j, i)
            total += 1
            right += scores[winner] > scores[loser]
            ties += scores[winner] == scores[loser]
    pairs = reward_model.ranking_pairs([ranks])
    scores_N = torch.tensor(scores, requires_grad=True)
    accuracy, metrics = reward_model.ranking_accuracy(scores_N, pairs, total)
    assert (total, right, ties) == (5, 2, 1)
    assert accuracy.item() == pytest.approx(right / total)
    assert metrics["score_ties"].item() == pytest.approx(ties / total)
    # winner minus loser: 1 - 1, 1 - 3, 1 + 2, 1 - 3, 1 + 2
    assert metrics["margin"].item() == pytest.approx(2 / 5)
    assert not metrics["margin"].requires_grad


def test_reference_accuracy_is_perfect() -> None:
    pairs = reward_model.ranking_pairs([RANKS])
    scores_N = torch.tensor(RANKING["scores"])
    accuracy, metrics = reward_model.ranking_accuracy(scores_N, pairs, len(pairs.winner_P))
    assert accuracy.item() == RANKING["accuracy"]
    assert metrics["score_ties"].item() == 0.0


def test_rankings_without_any_comparison_cost_nothing() -> None:
    pairs = reward_model.ranking_pairs([[1, 1], [1]])
    assert (len(pairs.winner_P), pairs.num_prompts, pairs.num_ties) == (0, 0, 1)
    scores_N = torch.ones(3, requires_grad=True)
    loss = reward_model.ranking_loss(scores_N, pairs, 5)
    loss.backward()
    assert loss.item() == 0.0
    assert scores_N.grad.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("gap", [-1000.0, 1000.0])
def test_extreme_scores_stay_finite(gap: float) -> None:
    pairs = reward_model.ranking_pairs([[1, 2]])
    scores_N = torch.tensor([gap, -gap], requires_grad=True)
    loss = reward_model.ranking_loss(scores_N, pairs, 1)
    loss.backward()
    assert loss.item() == pytest.approx(max(0.0, -2 * gap))
    assert scores_N.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_scores_give_float32(dtype: torch.dtype) -> None:
    pairs = reward_model.ranking_pairs([[1, 2]])
    scores_N = torch.tensor([300.0, 299.0], dtype=dtype)
    expected = math.log(1 + math.exp(-(scores_N[0].item() - scores_N[1].item())))
    loss = reward_model.ranking_loss(scores_N, pairs, 1)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert reward_model.reward_bias(scores_N).dtype == torch.float32


def test_gradient_of_the_ranking_loss() -> None:
    pairs = reward_model.ranking_pairs(RAGGED_RANKS)
    assert torch.autograd.gradcheck(
        lambda x: reward_model.ranking_loss(x, pairs, 3), random_scores().requires_grad_()
    )


def test_the_bias_moves_demonstrations_to_mean_zero_and_orders_nothing_anew() -> None:
    reference = REFERENCES["reward_bias"]
    scores_N = torch.tensor(reference["demo_scores"])
    bias = reward_model.reward_bias(scores_N)
    assert bias.item() == pytest.approx(reference["bias"])
    assert (scores_N + bias).tolist() == pytest.approx(reference["after"])


def test_an_unknown_normaliser_is_an_error() -> None:
    with pytest.raises(ValueError, match="normaliser"):
        reward_model.ranking_pairs([[1, 2]], "pairs")  # type: ignore[arg-type]
