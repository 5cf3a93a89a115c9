"""Attention with shared keys against PyTorch's own, and who takes it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from transformers import LlamaForCausalLM

from instructgpt.models.gpu_attention import gpu_attention, use_gpu_attention


def test_heads_that_share_a_key_may_be_its_queries() -> None:
    """Decoding: one position, keys of other rows hidden by the mask."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(3, h, t, 8) for h, t in ((6, 1), (2, 9), (2, 9)))
    hidden = torch.arange(9) > torch.tensor([8, 3, 0])[:, None]
    mask = torch.zeros(3, 9).masked_fill(hidden, -torch.inf)[:, None, None]
    for given in (mask, None):
        expected = F.scaled_dot_product_attention(
            query, key, value, attn_mask=given, enable_gqa=True, scale=0.3
        )
        out, _ = gpu_attention(nn.Module(), query, key, value, given, scaling=0.3)
        torch.testing.assert_close(out, expected.transpose(1, 2))


def test_a_model_on_a_processor_keeps_its_own(tiny_model: LlamaForCausalLM) -> None:
    tiny_model.config.num_key_value_heads = 2
    use_gpu_attention(tiny_model)
    assert tiny_model.config._attn_implementation == "sdpa"
