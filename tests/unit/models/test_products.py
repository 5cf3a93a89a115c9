"""Faster layers during generation: the same numbers, the weights of now, and no trace after."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

from instructgpt.models import products
from instructgpt.models.products import generation_kernels, has_wide_vectors

wide = pytest.mark.skipif(
    not has_wide_vectors(), reason="needs an x86 processor with AVX-512 that is not Intel's"
)


def layer(kind: str) -> nn.Module:
    torch.manual_seed(0)
    built = {
        "linear": lambda: nn.Linear(24, 40),
        "without bias": lambda: nn.Linear(24, 40, bias=False),
        "conv1d": lambda: Conv1D(40, 24),
    }[kind]()
    for parameter in built.parameters():
        nn.init.normal_(parameter)
    return nn.Sequential(built)


@wide
@pytest.mark.parametrize("kind", ["linear", "without bias", "conv1d"])
@pytest.mark.parametrize("rows", [1, 17])
def test_products_are_float64_s_but_for_rounding(
    kind: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = layer(kind)
    taken: list[int] = []
    product = products._product
    monkeypatch.setattr(
        products, "_product", lambda x, w, b: taken.append(len(x)) or product(x, w, b)
    )
    for _ in range(2):
        x = torch.randn(rows, 1, 24)
        weight = model[0].weight.double()
        expected = x.double() @ (weight if kind == "conv1d" else weight.T)
        if model[0].bias is not None:
            expected += model[0].bias.double()
        with torch.inference_mode(), generation_kernels(model):
            got = model(x)
        torch.testing.assert_close(got.double(), expected, atol=1e-5, rtol=1e-5)
        with torch.no_grad():
            model[0].weight.mul_(-2)  # an optimizer's step: weights are read where they lie
    assert taken == ([rows] * 2 if rows > 1 else [])


def test_autograd_autocast_and_other_people_s_layers_are_left_alone() -> None:
    model = layer("linear")
    x = torch.randn(9, 24)
    with generation_kernels(model):
        model(x).sum().backward()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            assert model(x).dtype == torch.bfloat16
    assert torch.equal(model[0].bias.grad, torch.full((40,), 9.0))
    model[0].forward = lambda x: x + 1
    with torch.inference_mode(), generation_kernels(model), generation_kernels(model):
        assert torch.equal(model(x), x + 1)
    assert "forward" in vars(model[0])


def test_nothing_stays_behind_and_contexts_may_be_nested() -> None:
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(n_layer=1, n_embd=16, n_head=2, vocab_size=20, n_positions=8)
    ).eval()
    before = [dict(vars(module)) for module in model.modules()]
    ids = torch.arange(8)[None]
    with torch.inference_mode():
        expected = model(ids).logits
        with generation_kernels(model):
            with generation_kernels(model):
                inner = model(ids).logits
            torch.testing.assert_close(inner, expected)
            assert torch.equal(model(ids).logits, inner)
        with pytest.raises(IndexError), generation_kernels(model):
            model(ids + 100)
        assert torch.equal(model(ids).logits, expected)
    for module, old in zip(model.modules(), before, strict=True):
        assert vars(module).keys() == old.keys()
