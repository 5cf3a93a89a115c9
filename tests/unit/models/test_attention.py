"""Attention on a CPU against PyTorch's own in float32, and who takes which way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from instructgpt.models import attention
from instructgpt.models.attention import cpu_attention, use_cpu_attention


def states(heads: int, length: int) -> Tensor:
    return torch.randn(3, heads, length, 8, requires_grad=True)


@pytest.mark.parametrize("key_heads", [4, 2], ids=["own heads", "grouped"])
def test_equals_the_fused_kernel_forward_and_backward(key_heads: int) -> None:
    torch.manual_seed(0)
    query, key, value = states(4, 7), states(key_heads, 7), states(key_heads, 7)
    expected = F.scaled_dot_product_attention(
        query, key, value, is_causal=True, enable_gqa=True
    ).transpose(1, 2)
    with torch.autocast("cpu", torch.bfloat16):
        out, weights = cpu_attention(nn.Module(), query, key, value, None)
    assert weights is None
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected, atol=0.02, rtol=0.02)
    ours = torch.autograd.grad(out.float().square().sum(), (query, key, value))
    theirs = torch.autograd.grad(expected.square().sum(), (query, key, value))
    for got, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, wanted, atol=0.06, rtol=0.06)


@pytest.mark.parametrize("case", ["float32", "masked", "one query", "long", "dropout"])
def test_everything_else_goes_to_the_fused_kernel(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def fused(*_args: object, **_kwargs: object) -> tuple[None, None]:
        calls.append(case)
        return None, None

    monkeypatch.setattr(attention, "sdpa_attention_forward", fused)
    length = 300 if case == "long" else 5
    query = states(2, 1 if case == "one query" else length)
    mask = torch.ones(3, 1, length, length, dtype=torch.bool) if case == "masked" else None
    dropout = 0.1 if case == "dropout" else 0.0
    with torch.autocast("cpu", torch.bfloat16, enabled=case != "float32"):
        cpu_attention(nn.Module(), query, states(2, length), states(2, length), mask, dropout)
    assert calls == [case]


@pytest.mark.parametrize("key_heads", [4, 2], ids=["own heads", "grouped"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_decode_step_equals_the_fused_kernel_in_float32(
    key_heads: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the rows are taken in chunks, and nothing but the cache's own rounding is lost."""
    monkeypatch.setattr(attention, "_CHUNK", 2 * key_heads * 9 * 8)  # two rows of the five
    torch.manual_seed(0)
    query = torch.randn(5, 4, 1, 8)
    key, value = (torch.randn(5, key_heads, 12, 8, dtype=dtype)[:, :, :9] for _ in range(2))
    mask = torch.zeros(5, 1, 1, 9)
    for row in range(5):
        mask[row, :, :, 2 + row :] = -torch.inf
    groups = 4 // key_heads
    keys, values = (x.float().repeat_interleave(groups, dim=1) for x in (key, value))
    expected = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=0.3)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=key_heads == 2):
        out, _ = cpu_attention(nn.Module(), query, key, value, mask, scaling=0.3)
    torch.testing.assert_close(out, expected.transpose(1, 2))


def test_a_cpu_model_attends_here_and_its_file_does_not_know(
    tiny_model: LlamaForCausalLM, tmp_path: Path
) -> None:
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        expected = tiny_model(ids).logits
        use_cpu_attention(tiny_model)
        assert tiny_model.config._attn_implementation == attention.NAME
        assert torch.equal(tiny_model(ids).logits, expected)
        with torch.autocast("cpu", torch.bfloat16):
            got = tiny_model(ids).logits.float()
    torch.testing.assert_close(got, expected, atol=0.05, rtol=0.05)
    tiny_model.save_pretrained(tmp_path)  # nothing of it may stay in what others load
    assert attention.NAME not in (tmp_path / "config.json").read_text()


def test_a_model_with_its_own_attention_keeps_it(tiny_model: LlamaForCausalLM) -> None:
    tiny_model.set_attn_implementation("eager")
    use_cpu_attention(tiny_model)
    assert tiny_model.config._attn_implementation == "eager"
