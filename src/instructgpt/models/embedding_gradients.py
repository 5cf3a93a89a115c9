"""Gradients of a word embedding: a few rows, added where the others are.

PyTorch makes a gradient of the whole vocabulary for every microbatch, nearly all zeros, and where
the output layer has the same weights a third one for the sum. At 124M parameters each takes 154 MB.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def spare_embedding_gradients(embedding: nn.Module) -> None:
    """Let a plain `nn.Embedding` add its gradient to `weight.grad` itself.

    It appears there after `backward()`, and not in what `torch.autograd.grad` returns.
    """
    if type(embedding) is nn.Embedding and not embedding.scale_grad_by_freq:
        embedding.__class__ = _Embedding


class _Embedding(nn.Embedding):
    def forward(self, input: Tensor) -> Tensor:
        looked_up = super().forward(input).detach()
        if not (torch.is_grad_enabled() and self.weight.requires_grad):
            return looked_up
        # A leaf of its own: backward through the others need not wait for this one.
        return _AddRows.apply(looked_up.requires_grad_(), self, input)


class _AddRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, looked_up: Tensor, embedding: nn.Embedding, ids: Tensor) -> Tensor:
        ctx.embedding = embedding
        ctx.save_for_backward(ids)
        return looked_up.view_as(looked_up)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, None]:
        (ids,) = ctx.saved_tensors
        weight, padding = ctx.embedding.weight, ctx.embedding.padding_idx
        if padding is not None:
            grad = grad.masked_fill((ids == padding)[..., None], 0.0)
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        weight.grad.index_add_(0, ids.flatten(), grad.flatten(0, -2).to(weight.dtype))
        return None, None, None
