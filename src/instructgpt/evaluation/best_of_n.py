"""What best-of-n achieves at every n, from one set of N scored completions per prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from math import comb


def best_of_n_kl(n: int) -> float:
    """KL of best-of-n from the model it samples, in nats: log n - (n - 1) / n.

    Exact for a continuous score, an upper bound when completions repeat (Stiennon et al. 2020,
    footnote 15; Beirami et al. 2024).
    """
    if n < 1:
        raise ValueError(f"best-of-{n} chooses from nothing")
    return math.log(n) - (n - 1) / n


def best_of_n_estimate(proxy: Sequence[float], values: Sequence[float], n: int) -> float:
    """Expected value of the completion that best-of-n by `proxy` picks; unbiased, one prompt.

    `proxy` and `values` describe the same N >= n completions. Averages over all C(N, n) subsets in
    closed form: sum over i of C(i - 1, n - 1) / C(N, n) x value of the i-th smallest proxy
    (Nakano et al. 2021, appendix I). Equal proxies share their chance of being picked.
    """
    total = len(proxy)
    if not 1 <= n <= total:
        raise ValueError(f"best-of-{n} needs between 1 and {total} completions")
    expected, rank = 0.0, 0
    ordered = sorted(zip(proxy, values, strict=True), key=lambda pair: pair[0])
    for _, group in groupby(ordered, key=lambda pair: pair[0]):
        tied = [value for _, value in group]
        chances = sum(comb(rank + i, n - 1) for i in range(len(tied)))
        expected += chances * sum(tied) / len(tied)
        rank += len(tied)
    return expected / comb(total, n)


def powers_of_two(limit: int) -> list[int]:
    """1, 2, 4, ... up to `limit`, and `limit` itself."""
    powers = [1 << i for i in range(limit.bit_length())]
    return powers if powers[-1] == limit else [*powers, limit]
