"""Learning one scalar from rankings of K completions (Ouyang et al. 2022, sec. 3.5).

Shapes: N completions of all prompts, flattened in order; P pairs of a winner and a loser of the
same prompt, as indices into N. All pairs of a prompt travel together, so that a completion is
scored once however many pairs it is in.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import comb
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from instructgpt.losses.masked import Count
from instructgpt.losses.precision import at_least_float32

Normaliser = Literal["valid_pairs", "all_pairs"]


class RankingPairs(NamedTuple):
    """The comparisons inside some rankings; ``weight_P`` makes every prompt count once."""

    winner_P: Tensor
    loser_P: Tensor
    weight_P: Tensor
    num_prompts: int
    """Prompts with at least one comparison; a ranking of nothing but ties says nothing."""
    num_ties: int
    """Pairs dropped because both were ranked the same."""


def ranking_pairs(
    ranks: Sequence[Sequence[int]],
    normaliser: Normaliser = "valid_pairs",
    device: torch.device | str | None = None,
) -> RankingPairs:
    """All pairs of every prompt, ties dropped; ``ranks[i]`` are prompt i's K ranks, 1 = best.

    A pair weighs one over the pairs of its prompt: those left without ties ("valid_pairs", so
    that a prompt's loss is a mean), or all C(K,2) ("all_pairs", eq. 1 to the letter). The two
    agree where nothing is tied; the paper does not say which it means where something is.
    """
    if normaliser not in ("valid_pairs", "all_pairs"):
        raise ValueError(f"unknown normaliser {normaliser!r}")
    winners: list[int] = []
    losers: list[int] = []
    weights: list[float] = []
    num_prompts = num_ties = first = 0
    for ranking in ranks:
        indexed = [(rank, first + k) for k, rank in enumerate(ranking)]
        pairs = [sorted(pair) for pair in combinations(indexed, 2) if pair[0][0] != pair[1][0]]
        all_pairs = comb(len(ranking), 2)
        winners += [winner for (_, winner), _ in pairs]
        losers += [loser for _, (_, loser) in pairs]
        if pairs:
            weights += [1 / (len(pairs) if normaliser == "valid_pairs" else all_pairs)] * len(pairs)
        num_prompts += bool(pairs)
        num_ties += all_pairs - len(pairs)
        first += len(ranking)
    return RankingPairs(
        torch.tensor(winners, dtype=torch.long, device=device),
        torch.tensor(losers, dtype=torch.long, device=device),
        torch.tensor(weights, dtype=torch.float32, device=device),
        num_prompts,
        num_ties,
    )


def ranking_loss(scores_N: Tensor, pairs: RankingPairs, num_prompts: Count) -> Tensor:
    """Ouyang et al. 2022, eq. 1: -log sigma(r_winner - r_loser), a mean over prompts; 0-d.

    ``num_prompts`` is the sum of ``pairs.num_prompts`` over the microbatches and processes of
    the step. Only differences of scores matter: the gradients of a prompt's K scores sum to 0.
    """
    return -(F.logsigmoid(margins(scores_N, pairs)) * pairs.weight_P).sum() / num_prompts


def ranking_accuracy(
    scores_N: Tensor, pairs: RankingPairs, num_pairs: Count
) -> tuple[Tensor, dict[str, Tensor]]:
    """Fraction of all valid pairs that the scores order strictly right, and metrics.

    Pairs that people tied are not among them. Equal scores are not right; ``score_ties`` is
    their fraction, ``margin`` the mean of r_winner - r_loser. All are parts of ``num_pairs``,
    the global number of valid pairs, so those of microbatches add up.
    """
    margin_P = margins(scores_N.detach(), pairs)
    metrics = {
        "margin": margin_P.sum() / num_pairs,
        "score_ties": (margin_P == 0).sum() / num_pairs,
    }
    return (margin_P > 0).sum() / num_pairs, metrics


def margins(scores_N: Tensor, pairs: RankingPairs) -> Tensor:
    """r_winner - r_loser of every pair, margin_P, at least float32."""
    scores_N = at_least_float32(scores_N)
    return scores_N[pairs.winner_P] - scores_N[pairs.loser_P]


def reward_bias(demonstration_scores_N: Tensor) -> Tensor:
    """The bias that makes demonstrations score 0 on average, without scaling (sec. 3.5); 0-d."""
    return -at_least_float32(demonstration_scores_N).mean()
