"""Reductions over the positions that count.

Shapes: B rows, T positions. ``mask_BT`` is bool and True counts. What lies outside the mask is
never read, so padding may hold anything, nan included.
"""

from __future__ import annotations

import torch
from torch import Tensor

from instructgpt.losses.precision import at_least_float32

Count = float | Tensor
"""A global count to divide by: a number, or a 0-d tensor such as a sum over processes."""


def masked_sum(x_BT: Tensor, mask_BT: Tensor, dim: int | None = None) -> Tensor:
    """Sum the counted entries: 0-d, or along ``dim`` (dim=1 of BT gives B)."""
    kept_BT = torch.where(mask_BT, at_least_float32(x_BT), 0.0)
    return kept_BT.sum() if dim is None else kept_BT.sum(dim)


def masked_mean(x_BT: Tensor, mask_BT: Tensor, count: Count | None = None) -> Tensor:
    """Sum of the counted entries over ``count`` (default: how many there are here); 0-d.

    The mean over an empty mask is nan: there is no such number, and 0 would look like one.
    """
    return masked_sum(x_BT, mask_BT) / (mask_BT.sum() if count is None else count)


def masked_var(x_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Population variance (divided by n, not n - 1) of the counted entries; 0-d."""
    x_BT = at_least_float32(x_BT)
    return masked_mean((x_BT - masked_mean(x_BT, mask_BT)).square(), mask_BT)


def masked_whiten(
    x_BT: Tensor,
    mask_BT: Tensor,
    shift_mean: bool = True,
    mean: Tensor | None = None,
    var: Tensor | None = None,
) -> Tensor:
    """Scale the counted entries to variance 1 and, with ``shift_mean``, to mean 0; BT.

    Advantages are whitened with ``shift_mean=True``, rewards with False, so that their sign
    survives (lm-human-preferences). Entries outside the mask become 0. ``mean`` and ``var`` are
    those of the counted entries here, unless a batch that is spread over processes passes its own.
    """
    x_BT = at_least_float32(x_BT)
    mean = masked_mean(x_BT, mask_BT) if mean is None else mean
    var = masked_var(x_BT, mask_BT) if var is None else var
    whitened_BT = (x_BT - mean) * torch.rsqrt(var + 1e-8)
    return torch.where(mask_BT, whitened_BT if shift_mean else whitened_BT + mean, 0.0)
