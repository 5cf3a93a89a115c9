"""Log-probs straight from hidden states and an output layer, by slices of a large vocabulary.

On a CPU in half precision the usual way holds, when backward begins: a cast of the layer's weights,
the logits in two types, their gradient, and the gradient of the weights in two types. Here it is
the logits in one type, and the gradient of the weights in theirs.

Shapes: N tokens, D hidden width, V vocabulary, S words of a slice, P slices, R rows of some tokens.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from instructgpt.losses.logprobs import OfChunk
from instructgpt.losses.precision import at_least_float32

# Below this a layer's tensors are small, and slices are only more calls.
_LARGE_VOCABULARY = 1 << 14
# Logits of a slice (docs/LOG.md, 2026-11-26); with fewer words products are too narrow to be fast.
_LOGITS = 1 << 21
_FEWEST_WORDS = 512


def slices_of(head: nn.Module | None) -> OfChunk | None:
    """`sliced_logprobs` of this layer, where it may stand for it and is worth it; else None.

    Not for adapters, nor for layers that somebody watches: their hooks would not be called.
    """
    if type(head) is not nn.Linear or head.weight.device.type != "cpu" or "forward" in vars(head):
        return None
    hooks = (head._forward_hooks, head._forward_pre_hooks)
    watched = any((*hooks, head._backward_hooks, head._backward_pre_hooks))
    if head.out_features < _LARGE_VOCABULARY or watched:
        return None
    return partial(sliced_logprobs, head)


def sliced_logprobs(
    head: nn.Linear,
    hidden_ND: Tensor,
    targets_N: Tensor,
    temperature: float = 1.0,
    with_entropy: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """Log-prob of each target, and the entropy in nats of its distribution (without a gradient).

    Products are of autocast's type, everything else at least float32. Backward finds the logits of
    all slices, in the products' type; where nobody needs a gradient, nothing is kept.
    Errors: ValueError for a temperature of 0 or less, IndexError for a target outside of V.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if targets_N.numel() and not 0 <= targets_N.min() <= targets_N.max() < head.out_features:
        raise IndexError(f"a target is not one of {head.out_features} words")
    dtype = hidden_ND.dtype
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
    with torch.autocast("cpu", enabled=False):
        found: tuple[Tensor, Tensor | None] = _SlicedLogprobs.apply(  # type: ignore[no-untyped-call]
            hidden_ND.to(dtype), head.weight, head.bias, targets_N, temperature, with_entropy
        )
    return found


class _SlicedLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        targets_N: Tensor,
        temperature: float,
        with_entropy: bool,
    ) -> tuple[Tensor, Tensor | None]:
        ctx.temperature, ctx.slices = temperature, _slices(len(targets_N), len(weight_VD))
        dtype = hidden_ND.dtype
        chosen_N = hidden_ND.new_zeros(len(targets_N), dtype=at_least_float32(hidden_ND).dtype)
        sizes, entropies, kept = [], [], []
        for words in ctx.slices:
            bias_S = None if bias_V is None else bias_V[words].to(dtype)
            product_NS = F.linear(hidden_ND, weight_VD[words].to(dtype), bias_S)
            if any(ctx.needs_input_grad):
                kept.append(product_NS)
            logits_NS = _scaled(product_NS, temperature)
            rows_R, columns_R = _targets_in(words, targets_N)
            chosen_N[rows_R] = logits_NS[rows_R, columns_R]
            logprobs_NS = logits_NS.log_softmax(dim=-1)  # among the words of this slice
            sizes.append(logits_NS.amax(dim=-1) - logprobs_NS.amax(dim=-1))
            if with_entropy:
                entropies.append(_entropy(logprobs_NS))
        sizes_NP = torch.stack(sizes, dim=1)  # log of the sum of exponentials
        size_N = sizes_NP.logsumexp(dim=1)
        ctx.save_for_backward(hidden_ND, weight_VD, bias_V, targets_N, size_N, *kept)
        if not with_entropy:
            return chosen_N - size_N, None
        # The entropy of which slice it is, and of which word there.
        logprobs_NP = sizes_NP - size_N[:, None]
        within_N = (logprobs_NP.exp() * torch.stack(entropies, dim=1)).sum(dim=1)
        entropy_N = _entropy(logprobs_NP) + within_N
        ctx.mark_non_differentiable(entropy_N)
        return chosen_N - size_N, entropy_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N: Tensor, _entropy_grad: Tensor | None) -> tuple[Any, ...]:
        """Of log p(target): its own logit's gradient less that of every word times p(word)."""
        hidden_ND, weight_VD, bias_V, targets_N, size_N, *kept = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        grad_N = grad_N / ctx.temperature
        hidden_grad_ND = torch.zeros_like(hidden_ND, dtype=grad_N.dtype) if wants_hidden else None
        weight_grad_VD = torch.empty_like(weight_VD) if wants_weight else None
        bias_grad_V = torch.empty_like(bias_V) if wants_bias else None
        for words, product_NS in zip(ctx.slices, kept, strict=True):
            logprobs_NS = _scaled(product_NS, ctx.temperature).sub_(size_N[:, None])
            logits_grad_NS = logprobs_NS.exp_().mul_(-grad_N[:, None])
            rows_R, columns_R = _targets_in(words, targets_N)
            logits_grad_NS[rows_R, columns_R] += grad_N[rows_R]
            narrow_NS = logits_grad_NS.to(hidden_ND.dtype)
            if hidden_grad_ND is not None:
                hidden_grad_ND += narrow_NS @ weight_VD[words].to(hidden_ND.dtype)
            if weight_grad_VD is not None:
                weight_grad_VD[words] = narrow_NS.T @ hidden_ND
            if bias_grad_V is not None:
                bias_grad_V[words] = logits_grad_NS.sum(dim=0)
        if hidden_grad_ND is not None:
            hidden_grad_ND = hidden_grad_ND.to(hidden_ND.dtype)
        return hidden_grad_ND, weight_grad_VD, bias_grad_V, None, None, None


def _slices(tokens: int, vocabulary: int) -> list[slice]:
    words = max(_FEWEST_WORDS, _LOGITS // max(1, tokens) // 64 * 64)
    return [slice(start, min(start + words, vocabulary)) for start in range(0, vocabulary, words)]


def _scaled(product_NS: Tensor, temperature: float) -> Tensor:
    """Logits at least in float32, always in memory of their own."""
    wide_NS = product_NS.to(torch.promote_types(product_NS.dtype, torch.float32), copy=True)
    return wide_NS if temperature == 1.0 else wide_NS.div_(temperature)


def _targets_in(words: slice, targets_N: Tensor) -> tuple[Tensor, Tensor]:
    """Rows whose target is among `words`, and its place there."""
    rows_R = ((words.start <= targets_N) & (targets_N < words.stop)).nonzero().squeeze(1)
    return rows_R, targets_N[rows_R] - words.start


def _entropy(logprobs: Tensor) -> Tensor:
    """Over the last dimension; a log-prob may be -inf."""
    lowest = torch.finfo(logprobs.dtype).min  # 0 x -inf is no number
    return -(logprobs.exp() * logprobs.clamp_min(lowest)).sum(dim=-1)
