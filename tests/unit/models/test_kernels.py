from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from instructgpt.models.kernels import use_fast_kernels


@pytest.mark.parametrize("name", ["gelu_new", "gelu_fast"])
def test_a_written_out_gelu_becomes_one_kernel_and_the_file_does_not_change(
    name: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=1, n_embd=16, n_head=2, vocab_size=20, n_positions=8, activation_function=name
    )
    model = GPT2LMHeadModel(config).eval()
    ids = torch.arange(8)[None]
    with torch.no_grad():
        expected = model(ids).logits
        use_fast_kernels(model)
        torch.testing.assert_close(model(ids).logits, expected, atol=1e-6, rtol=1e-5)
    act = model.transformer.h[0].mlp.act
    assert isinstance(act, nn.GELU)
    x = 1.3  # by hand, from the definition
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    assert act(torch.tensor(x)).item() == pytest.approx(0.5 * x * (1 + math.tanh(inner)), abs=1e-6)
    model.save_pretrained(tmp_path)
    assert GPT2LMHeadModel.from_pretrained(tmp_path).config.activation_function == name
