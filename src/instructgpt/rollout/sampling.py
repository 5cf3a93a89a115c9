"""Choosing tokens for a whole batch with random numbers that belong to the requests.

Shapes: R rows of logits, K samples per row, V vocabulary.

The t-th token of a request comes from the t-th uniform number of that request, through the inverse
of the cumulative distribution in vocabulary order. Neither the other rows of the batch, nor the
slot, nor the order of arrival has any part in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from instructgpt.rollout.requests import Requests
from instructgpt.rollout.types import SamplingParams, TokenLogprob

_WORD = (1 << 64) - 1
_TINY = torch.finfo(torch.float32).tiny  # smaller numbers may be 0 to a processor
_BLOCK = 512  # tokens that an accelerator searches together
_BLOCK_ON_CPU = 128


def request_uniforms(seed: int, key: int, sample: int, count: int) -> np.ndarray:
    """`count` float32 numbers, uniform on multiples of 2^-23 in [0, 1).

    A counter-based generator (Philox) is addressed by the request, so that no state is shared and a
    longer draw begins with the shorter one. 23 bits: the product with a float32 total below 2
    always stays below that total, so an inverse CDF can never run past its end.
    """
    # arrays: from a list of large integers numpy would make rounded floats
    address = np.array([seed & _WORD, key & _WORD], dtype=np.uint64)
    start = np.array([0, 0, 0, sample], dtype=np.uint64)
    generator = np.random.Philox(key=address, counter=start)
    return (generator.random_raw(count) >> 41).astype(np.float32) * np.float32(2.0**-23)


def draw_uniforms(requests: Requests) -> np.ndarray | None:
    """Every sequence's random numbers, [sequences, most room]; None when the choice is greedy."""
    if requests.params.greedy or not requests.prompts:
        return None
    width = max(requests.room)
    rows = [
        request_uniforms(requests.params.seed, key, sample, width)
        for key in requests.keys
        for sample in range(requests.n)
    ]
    return np.stack(rows)


def choose_tokens(
    logits_RV: Tensor,
    uniforms_RK: Tensor | None,
    params: SamplingParams,
    temperature_R1: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(ids_RK, logprobs_RK): one token per uniform number; K = 1 and no uniforms when greedy.

    temperature_R1: of every row, where it is not that of `params`.

    The log-probs are float32 and describe the distribution that was sampled from; those of a greedy
    choice describe the model at temperature 1, where top-k and top-p do not matter.
    """
    logits_RV = logits_RV.float()
    if uniforms_RK is None:
        ids_RK = logits_RV.argmax(dim=-1, keepdim=True)
        return ids_RK, logits_RV.log_softmax(dim=-1).gather(-1, ids_RK)
    probs_RV = sampling_probs(logits_RV, params, temperature_R1)
    ids_RK = _invert_cdf(probs_RV, uniforms_RK)
    return ids_RK, probs_RV.gather(-1, ids_RK).log()


def changed_logits(
    logits_RV: Tensor, requests: Requests, written_R: Sequence[Sequence[int]]
) -> Tensor:
    """The logits with the requests' changes; `written_R` is what each row has generated so far."""
    if requests.changes is None:
        return logits_RV
    logits_RV = logits_RV.float().clone()
    for row, tokens in enumerate(written_R):
        added = requests.changes.after(tokens)
        if added:
            ids = torch.tensor(list(added), device=logits_RV.device)
            logits_RV[row, ids] += torch.tensor(list(added.values()), device=logits_RV.device)
    return logits_RV


def model_logprobs(logits_RV: Tensor, ids_RK: Tensor, top: int) -> list[TokenLogprob]:
    """What the model says of every chosen token, row by row, with its `top` likeliest ones."""
    logprobs_RV = logits_RV.float().log_softmax(dim=-1)
    chosen = logprobs_RV.gather(-1, ids_RK).tolist()
    values_RT, best_RT = logprobs_RV.topk(min(top, logprobs_RV.shape[-1]), dim=-1)
    likeliest = [
        list(zip(ids, values, strict=True))
        for ids, values in zip(best_RT.tolist(), values_RT.tolist(), strict=True)
    ]
    return [
        TokenLogprob(logprob, best)
        for row, best in zip(chosen, likeliest, strict=True)
        for logprob in row
    ]


def sampling_probs(
    logits_RV: Tensor, params: SamplingParams, temperature_R1: Tensor | None = None
) -> Tensor:
    """The float32 distribution that temperature, then top-k, then top-p make of the logits. RV."""
    if temperature_R1 is not None or params.temperature != 1.0:
        # the maximum first: a tiny temperature must not push the best logit to infinity
        logits_RV = logits_RV - logits_RV.amax(dim=-1, keepdim=True)
        if temperature_R1 is None:
            logits_RV = logits_RV / max(params.temperature, _TINY)
        else:
            logits_RV = logits_RV / temperature_R1.clamp(min=_TINY)
    if 0 < params.top_k < logits_RV.shape[-1]:
        kth_R1 = logits_RV.topk(params.top_k, dim=-1).values[:, -1:]
        logits_RV = logits_RV.masked_fill(logits_RV < kth_R1, -torch.inf)
    probs_RV = logits_RV.softmax(dim=-1)
    return probs_RV if params.top_p == 1.0 else _keep_top_p(probs_RV, params.top_p)


def _keep_top_p(probs_RV: Tensor, top_p: float) -> Tensor:
    # stable: equal probabilities are taken in vocabulary order, on every device
    sorted_RV, order_RV = probs_RV.sort(dim=-1, descending=True, stable=True)
    before_RV = sorted_RV.cumsum(dim=-1) - sorted_RV
    sorted_RV = sorted_RV.masked_fill(before_RV >= max(top_p, _TINY), 0.0)
    kept_RV = torch.zeros_like(probs_RV).scatter_(-1, order_RV, sorted_RV)
    return kept_RV / kept_RV.sum(dim=-1, keepdim=True)


def _invert_cdf(probs_RV: Tensor, uniforms_RK: Tensor) -> Tensor:
    # A sum made in parallel may fall by one rounding where it should stay level, and a binary
    # search could then land on a token of probability 0. Processors sum from left to right.
    search = bisect_cdf if probs_RV.device.type == "cpu" else scan_cdf
    return search(probs_RV, uniforms_RK)


def bisect_cdf(probs_RV: Tensor, uniforms_RK: Tensor) -> Tensor:
    """ids_RK: the first token whose cumulative probability exceeds the uniform number.

    First the block of B tokens, then the token in it: sums from left to right, which no vector
    instruction speeds up, are of blocks and of one block's tokens.
    """
    blocks_RXB = _in_blocks(probs_RV, _BLOCK_ON_CPU)
    ends_RX = blocks_RXB.sum(dim=-1).cumsum(dim=-1)
    targets_RK = uniforms_RK * ends_RX[:, -1:]
    found_RK = torch.searchsorted(ends_RX, targets_RK, right=True)
    found_RK.clamp_(max=ends_RX.shape[-1] - 1)  # only NaN gets there
    before_RK = F.pad(ends_RX, (1, 0)).gather(-1, found_RK)
    ends_RKB = blocks_RXB[torch.arange(len(probs_RV))[:, None], found_RK].cumsum(dim=-1)
    # The block's sum was made in another order, and may be larger than its last end by a rounding.
    rest_RK = (targets_RK - before_RK).minimum(ends_RKB[..., -1] * (1 - 2.0**-23))
    places_RK = torch.searchsorted(ends_RKB, rest_RK[..., None], right=True)[..., 0]
    return (found_RK * _BLOCK_ON_CPU + places_RK).clamp_(max=probs_RV.shape[-1] - 1)  # NaN again


def scan_cdf(probs_RV: Tensor, uniforms_RK: Tensor) -> Tensor:
    """As `bisect_cdf`, by looking at every possible token and at no impossible one.

    First the block of tokens, then the token in it: a row is summed in many places at once.
    """
    blocks_RXB = _in_blocks(probs_RV, _BLOCK)
    sums_RX = blocks_RXB.sum(dim=-1)
    ends_RX = sums_RX.cumsum(dim=-1)
    row_R = torch.arange(len(probs_RV), device=probs_RV.device)
    columns = []
    for uniforms_R in uniforms_RK.unbind(dim=1):
        block_R, rest_R = _first_beyond(sums_RX, ends_RX, uniforms_R * ends_RX.amax(dim=-1))
        block_RB = blocks_RXB[row_R, block_R]
        place_R, _ = _first_beyond(block_RB, block_RB.cumsum(dim=-1), rest_R)
        columns.append(block_R * _BLOCK + place_R)
    return torch.stack(columns, dim=-1)


def _in_blocks(probs_RV: Tensor, size: int) -> Tensor:
    """RXB: X blocks of `size` tokens, the last one filled up with impossible ones."""
    return F.pad(probs_RV, (0, -probs_RV.shape[-1] % size)).unflatten(-1, (-1, size))


def _first_beyond(parts_RX: Tensor, ends_RX: Tensor, targets_R: Tensor) -> tuple[Tensor, Tensor]:
    """The first possible part that ends beyond the target, and the target counted from its start.

    A target beyond all ends, which rounding can make of one near the last, is taken for it.
    """
    ends_RX = ends_RX.masked_fill(parts_RX == 0, 0.0)
    targets_R1 = targets_R.minimum(ends_RX.amax(dim=-1) * (1 - 2.0**-23))[:, None]
    first_R1 = (ends_RX > targets_R1).to(torch.uint8).argmax(dim=-1, keepdim=True)
    starts_R1 = ends_RX.gather(1, first_R1) - parts_RX.gather(1, first_R1)
    return first_R1[:, 0], (targets_R1 - starts_R1)[:, 0]
