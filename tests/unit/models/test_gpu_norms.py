"""Fused RMS norms compute what the written-out ones do, and share their weight."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.olmo2.modeling_olmo2 import Olmo2RMSNorm

from instructgpt.models.gpu_norms import fused_norm, use_gpu_norms


@pytest.mark.parametrize("norm", [LlamaRMSNorm, Olmo2RMSNorm])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equals_the_one_it_replaces(norm: type[nn.Module], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    plain = norm(48, eps=1e-5)
    nn.init.normal_(plain.weight, 1.0, 0.3)
    states = (3 * torch.randn(4, 5, 48)).to(dtype)  # narrower than the weights, as under autocast
    fused = fused_norm(plain)
    assert fused.weight is plain.weight
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(fused(states), plain(states).float(), rtol=tolerance, atol=tolerance)


class Doubled(LlamaRMSNorm):
    """Named the same, and another function."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(states)


@pytest.mark.parametrize("module", [Gemma2RMSNorm(8), Doubled(8), nn.LayerNorm(8), nn.Linear(8, 8)])
def test_what_computes_something_else_stays(module: nn.Module) -> None:
    assert fused_norm(module) is None


def test_a_model_on_a_processor_keeps_its_own(tiny_model: LlamaForCausalLM) -> None:
    use_gpu_norms(tiny_model)
    assert isinstance(tiny_model.model.norm, LlamaRMSNorm)
