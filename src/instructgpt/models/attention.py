"""Causal attention on a CPU: matrix products where they are faster than PyTorch's fused kernel.

That kernel runs its backward pass in bfloat16 two to four times slower than the two matrix products
that it consists of, and a decode step, one query against many keys, two to five times slower
(measured with 2.13, docs/LOG.md). Everything else goes to it as before.

Shapes: B rows, H heads, G query heads per key head, T positions, S cached positions, D head width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "sdpa_cpu"

# Up to here the T x T weights, which backward needs, are small beside the other activations.
_LONGEST = 256

# Keys of a decode step that are brought to float32 at once: they must still be in a core's own
# cache when they are multiplied.
_CHUNK = 1 << 19

# What some models add to attention, and only the fused kernel's wrapper knows.
EXTRAS = ("position_bias", "cache", "softcap", "s_aux")


def use_cpu_attention(model: PreTrainedModel) -> None:
    """Let `model` attend through this file if it is on a CPU and its own way is the fused one.

    A model that brings its own attention ("eager" with soft caps, for example) keeps it.
    """
    config = model.config.get_text_config()
    if model.device.type == "cpu" and config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)


def cpu_attention(
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
    scale = width**-0.5 if scaling is None else scaling
    plain = dropout == 0.0 and all(kwargs.get(name) is None for name in EXTRAS)
    if plain and _is_decode_step(query_BHTD, attention_mask):
        return _decode(query_BHTD, key_BHTD, value_BHTD, attention_mask, scale), None
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    square = 1 < length == key_BHTD.shape[2] <= _LONGEST
    if plain and square and causal and attention_mask is None and _in_bfloat16(query_BHTD):
        return _short(query_BHTD, key_BHTD, value_BHTD, scale), None
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


def _in_bfloat16(query_BHTD: Tensor) -> bool:
    return query_BHTD.device.type == "cpu" and torch.is_autocast_enabled("cpu")


def _is_decode_step(query_BHTD: Tensor, mask: Tensor | None) -> bool:
    """Whether this is one query per row, under an additive mask that all heads share."""
    return (
        query_BHTD.shape[2] == 1
        and mask is not None
        and mask.is_floating_point()
        and mask.shape[1] == 1
        and query_BHTD.device.type == "cpu"
        and not torch.is_grad_enabled()
    )


def _decode(
    query_BH1D: Tensor, key_BHSD: Tensor, value_BHSD: Tensor, mask_B11S: Tensor, scale: float
) -> Tensor:
    """B1HD in the query's type, computed in float32 whatever the cache holds."""
    rows, heads, _, width = query_BH1D.shape
    out_BHGD = query_BH1D.new_empty(
        rows, key_BHSD.shape[1], heads // key_BHSD.shape[1], width, dtype=torch.float32
    )
    query_BHGD = query_BH1D.float().reshape(out_BHGD.shape)
    together = rows
    if key_BHSD.dtype != torch.float32:
        together = max(1, _CHUNK // key_BHSD[0].numel())
    with torch.autocast("cpu", enabled=False):
        for start in range(0, rows, together):
            some = slice(start, start + together)
            keys, values = key_BHSD[some].float(), value_BHSD[some].float()
            scores_BHGS = torch.matmul(query_BHGD[some], keys.mT)
            scores_BHGS = torch.add(mask_B11S[some], scores_BHGS, alpha=scale)
            torch.matmul(scores_BHGS.softmax(dim=-1), values, out=out_BHGD[some])
    return out_BHGD.view(rows, 1, heads, width).to(query_BH1D.dtype)


def _short(query_BHTD: Tensor, key_BHTD: Tensor, value_BHTD: Tensor, scale: float) -> Tensor:
    length = query_BHTD.shape[2]
    groups = query_BHTD.shape[1] // key_BHTD.shape[1]
    keys, values = (repeat_kv(x, groups).flatten(0, 1) for x in (key_BHTD, value_BHTD))
    queries = query_BHTD.flatten(0, 1)
    future_TT = queries.new_full((length, length), -torch.inf, dtype=torch.bfloat16).triu(1)
    with torch.autocast("cpu", enabled=False):  # it would make the softmax return float32
        scores = torch.baddbmm(future_TT, queries.bfloat16(), keys.mT.bfloat16(), alpha=scale)
        out = torch.bmm(scores.softmax(dim=-1), values.bfloat16())
    return out.view(*query_BHTD.shape[:3], -1).transpose(1, 2)


AttentionInterface.register(NAME, cpu_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
