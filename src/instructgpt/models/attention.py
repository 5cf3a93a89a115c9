"""Causal attention for a CPU that multiplies bfloat16 matrices.

PyTorch's fused CPU kernel runs its backward pass in bfloat16 two to four times slower than the two
matrix products that it consists of (measured with 2.13, docs/LOG.md). Short sequences therefore
take the matrix products; everything else goes to the fused kernel as before.

Shapes: B rows, H heads, T positions, D head width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "sdpa_short_bfloat16"

# Up to here the T x T weights, which backward needs, are small beside the other activations.
_LONGEST = 256


def use_short_attention(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Let `model` attend through this file where that is faster and its own way is the fused one.

    A model that brings its own attention ("eager" with soft caps, for example) keeps it.
    """
    if model.device.type != "cpu" or dtype != torch.bfloat16:
        return
    if model.config.get_text_config()._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)


def short_attention(
    module: nn.Module,
    query_BHTD: Tensor,
    key_BHTD: Tensor,
    value_BHTD: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """An attention function of `transformers`: BTHD out; key and value may have fewer heads."""
    length, width = query_BHTD.shape[2:]
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    plain = (
        torch.is_autocast_enabled("cpu")
        and causal
        and attention_mask is None
        and dropout == 0.0
        and 1 < length == key_BHTD.shape[2] <= _LONGEST
        and not any(kwargs.get(name) is not None for name in ("position_bias", "cache", "softcap"))
    )
    if not plain:
        return sdpa_attention_forward(
            module,
            query_BHTD,
            key_BHTD,
            value_BHTD,
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            is_causal=is_causal,
            **kwargs,
        )
    groups = query_BHTD.shape[1] // key_BHTD.shape[1]
    keys, values = (repeat_kv(x, groups).flatten(0, 1) for x in (key_BHTD, value_BHTD))
    queries = query_BHTD.flatten(0, 1)
    future_TT = queries.new_full((length, length), -torch.inf, dtype=torch.bfloat16).triu(1)
    scale = width**-0.5 if scaling is None else scaling
    with torch.autocast("cpu", enabled=False):  # it would make the softmax return float32
        scores = torch.baddbmm(future_TT, queries.bfloat16(), keys.mT.bfloat16(), alpha=scale)
        out = torch.bmm(scores.softmax(dim=-1), values.bfloat16())
    return out.view(*query_BHTD.shape[:3], -1).transpose(1, 2), None


AttentionInterface.register(NAME, short_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
