"""Half-precision inputs are widened before any exp, log or sum (Ouyang et al. 2022, app. C)."""

from __future__ import annotations

import torch
from torch import Tensor

LOG_RATIO_LIMIT = 20.0
"""Largest |log ratio| that is exponentiated: e^20 is a broken ratio already, e^89 is inf."""


def at_least_float32(x: Tensor) -> Tensor:
    """Return ``x`` in float32, or in float64 where it is float64 already."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
