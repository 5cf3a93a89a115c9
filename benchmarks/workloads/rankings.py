"""What the reward model and DPO share: rankings as our trainers take them."""

from __future__ import annotations

import argparse

import token_ids

from instructgpt.training.examples import TokenRanking


def add_ranking_arguments(parser: argparse.ArgumentParser) -> None:
    """--rankings prompts with --completions each, --batch of them per step."""
    parser.add_argument("--rankings", type=int, default=64)
    parser.add_argument("--completions", type=int, default=6)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--tokens-per-microbatch", type=int, default=4096)


def token_rankings(arguments: argparse.Namespace) -> list[TokenRanking]:
    """The best completion first."""
    found = token_ids.ranked_prompts(arguments.rankings, arguments.vocab, arguments.completions)
    ranks = tuple(range(1, arguments.completions + 1))
    return [
        TokenRanking(
            [([*r.prompt, *c], [False] * len(r.prompt) + [True] * len(c)) for c in r.completions],
            ranks,
        )
        for r in found
    ]


def work(rankings: list[TokenRanking]) -> dict[str, object]:
    """How many comparisons, and the fingerprint of all of them."""
    pairs = [
        (r.sequences[i][0], r.sequences[j][0])
        for r in rankings
        for i in range(len(r.ranks))
        for j in range(len(r.ranks))
        if r.ranks[i] < r.ranks[j]
    ]
    return {"pairs": len(pairs), "work": token_ids.pairs_fingerprint(pairs)}
