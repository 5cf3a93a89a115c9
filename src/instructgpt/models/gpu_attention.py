"""Decoding on a GPU without a copy of the cache for every query head.

Where fewer heads of keys than of queries exist, transformers 5.17 repeats the keys and values of
the whole cache once per query head in every step; what was to be read once is read and written
many times. (5.23 does not any more.)

Shapes: B rows, H heads, G heads of keys and values, T positions, D head width.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from instructgpt.models.attention import EXTRAS

NAME = "sdpa_gpu"


def use_gpu_attention(model: PreTrainedModel) -> None:
    """Let `model` attend through this file if it is on a GPU and its heads share keys."""
    config = model.config.get_text_config()
    key_heads = getattr(config, "num_key_value_heads", None)
    if model.device.type != "cuda" or key_heads in (None, config.num_attention_heads):
        return
    if config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)


def gpu_attention(
    module: nn.Module,
    query_BHTD: Tensor,
    key_BGTD: Tensor,
    value_BGTD: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """An attention function of `transformers`: BTHD out.

    The heads that share a key become its queries: with one position there is no order among them.
    """
    heads, length, width = query_BHTD.shape[1:]
    key_heads = key_BGTD.shape[1]
    shared_mask = attention_mask is None or attention_mask.shape[1] == 1
    special = any(kwargs.get(name) is not None for name in EXTRAS)
    if length > 1 or heads == key_heads or not shared_mask or dropout or special:
        return sdpa_attention_forward(
            module,
            query_BHTD,
            key_BGTD,
            value_BGTD,
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            is_causal=is_causal,
            **kwargs,
        )
    out = nn.functional.scaled_dot_product_attention(
        query_BHTD.reshape(len(query_BHTD), key_heads, heads // key_heads, width),
        key_BGTD,
        value_BGTD,
        attn_mask=attention_mask,
        scale=scaling,
    )
    return out.reshape(len(out), 1, heads, -1), None


AttentionInterface.register(NAME, gpu_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
