"""Causal attention on a CPU: matrix products where they are faster than PyTorch's fused kernel.

That kernel runs its backward pass in bfloat16 two to four times slower than the two matrix products
that it consists of, and a decode step, one query against many keys, two to five times slower
(measured with 2.13, docs/LOG.md). Everything else goes to it as before.

Shapes: B rows, H heads, G query heads per key head, T positions, S cached positions, D head width.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from instructgpt.models.padding_free import (
    CannotLieSideBySide,
    RowLayout,
    current_layout,
    side_by_side,
)

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
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    if (layout := current_layout()) is not None:
        if not (plain and causal and attention_mask is None):
            raise CannotLieSideBySide(type(module).__name__)
        attend = partial(_square, module, scale=scale)
        return layout.attend(attend, query_BHTD, key_BHTD, value_BHTD), None
    if plain and _is_decode_step(query_BHTD, attention_mask):
        return _decode(query_BHTD, key_BHTD, value_BHTD, attention_mask, scale), None
    if plain and length == key_BHTD.shape[2] and causal and attention_mask is None:
        return _square(module, query_BHTD, key_BHTD, value_BHTD, scale), None
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


def _square(
    module: nn.Module, query_BHTD: Tensor, key_BHTD: Tensor, value_BHTD: Tensor, scale: float
) -> Tensor:
    """Causal attention of rows over themselves: BTHD."""
    if 1 < query_BHTD.shape[2] <= _LONGEST and _in_bfloat16(query_BHTD):
        return _short(query_BHTD, key_BHTD, value_BHTD, scale)
    out_BTHD, _weights = sdpa_attention_forward(
        module, query_BHTD, key_BHTD, value_BHTD, None, scaling=scale, is_causal=True
    )
    return out_BTHD


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


@torch.no_grad()
def can_lie_side_by_side(model: PreTrainedModel) -> bool:
    """Whether rows of `model` that lie so change nothing in one another: seen, not assumed.

    Recurrent layers run on into the next row, and some architectures have masks or positions of
    their own. Only for models that attend through this file.
    """
    if model.config.get_text_config()._attn_implementation != NAME:
        return False
    training = model.training
    model.eval()
    rows = [[1, 2, 3, 4, 1], [3, 1, 2]]
    layout = RowLayout([len(row) for row in rows])
    flat_1N = torch.tensor([[*rows[0], *rows[1]]])
    backbone = partial(model.base_model, use_cache=False)
    try:
        with torch.autocast("cpu", enabled=False):
            apart = [backbone(torch.tensor([row]))[0][0] for row in rows]
            with side_by_side(layout):
                together_1ND = backbone(flat_1N, position_ids=layout.positions_N[None])[0]
    except (CannotLieSideBySide, TypeError):  # TypeError: it takes no positions
        return False
    finally:
        model.train(training)
    return torch.allclose(together_1ND[0], torch.cat(apart), atol=1e-5, rtol=1e-4)


def cpu_mask(**kwargs: Any) -> Tensor | None:
    """A mask function of `transformers`. Rows that lie side by side need none, or cannot lie so."""
    if current_layout() is None:
        return sdpa_mask(**kwargs)
    masked = kwargs.get("attention_mask") is not None
    if masked or any(kwargs.get(name) for name in ("local_size", "use_vmap")):
        raise CannotLieSideBySide("its mask is not the plain causal one")
    return None


AttentionInterface.register(NAME, cpu_attention)
AttentionMaskInterface.register(NAME, cpu_mask)
