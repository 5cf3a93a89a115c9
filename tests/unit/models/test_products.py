"""Faster layers during generation: the same numbers, the weights of now, and no trace after."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

from instructgpt.models import products
from instructgpt.models.products import PackedWeights, generation_kernels, packs

KINDS = ["linear", "without bias", "conv1d"]


def needs(dtype: torch.dtype) -> pytest.MarkDecorator:
    why = f"needs an x86 processor with AVX-512 for {dtype} that is not Intel's"
    return pytest.mark.skipif(not packs(dtype), reason=why)


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


def exact(model: nn.Module, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The layer in float64, of inputs and weights that were rounded to `dtype`."""
    weight, bias = model[0].weight.to(dtype).double(), model[0].bias
    product = x.to(dtype).double() @ (weight if isinstance(model[0], Conv1D) else weight.T)
    return product if bias is None else product + bias.to(dtype).double()


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of every product that was made with packed weights."""
    rows: list[int] = []
    multiply = products.multiply
    monkeypatch.setattr(
        products, "multiply", lambda x, w, b: rows.append(len(x)) or multiply(x, w, b)
    )
    return rows


@needs(torch.float32)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [1, 2, 17, 300])
def test_products_are_float64_s_but_for_rounding(kind: str, rows: int, taken: list[int]) -> None:
    model, packed = layer(kind), PackedWeights()
    for _ in range(2):
        x = torch.randn(rows, 1, 24)
        with torch.inference_mode(), generation_kernels(model, packed):
            got = model(x)
        expected = exact(model, x, torch.float32)
        torch.testing.assert_close(got.double(), expected, atol=1e-5, rtol=1e-5)
    assert taken == [rows] * 2


@needs(torch.bfloat16)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [1, 17])
def test_products_under_autocast_differ_by_their_result_s_rounding(
    kind: str, rows: int, taken: list[int]
) -> None:
    model = layer(kind)
    x = torch.randn(rows, 1, 24)
    with (
        torch.inference_mode(),
        torch.autocast("cpu", torch.bfloat16),
        generation_kernels(model, PackedWeights()),
    ):
        got = model(x)
    assert got.dtype == torch.bfloat16
    expected = exact(model, x, torch.bfloat16)
    torch.testing.assert_close(got.double(), expected, atol=2**-8, rtol=2**-8)
    assert taken == [rows]


@needs(torch.float32)
@pytest.mark.parametrize("name", ["weight", "bias"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_packed_weight_follows_the_layer_s_own(name: str, dtype: torch.dtype) -> None:
    """An optimizer's step in place, other values in another place, and one layer's alone."""
    model, packed = layer("linear"), PackedWeights()
    x = torch.randn(5, 24)
    parameter = getattr(model[0], name)

    def move() -> None:
        with torch.no_grad():
            parameter.mul_(-2)

    def put_elsewhere() -> None:
        parameter.data = torch.randn_like(parameter)

    for change in (move, put_elsewhere, lambda: None):
        change()
        with (
            torch.inference_mode(),
            torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16),
            generation_kernels(model, packed),
        ):
            got = model(x)
        torch.testing.assert_close(got.double(), exact(model, x, dtype), atol=2e-2, rtol=2e-2)


@needs(torch.float32)
def test_a_copy_of_a_generating_model_is_on_its_own() -> None:
    model, x = layer("linear"), torch.randn(5, 24)
    with torch.inference_mode(), generation_kernels(model, PackedWeights()):
        model(x)
        twin = copy.deepcopy(model)
    with torch.inference_mode():
        twin[0].weight.mul_(3)
        torch.testing.assert_close(
            twin(x).double(), exact(twin, x, torch.float32), atol=1e-5, rtol=1e-5
        )
        assert torch.equal(model(x), nn.functional.linear(x, model[0].weight, model[0].bias))


def test_autograd_and_other_people_s_layers_are_left_alone() -> None:
    model = layer("linear")
    x = torch.randn(9, 24)
    with generation_kernels(model, PackedWeights()):
        model(x).sum().backward()
    assert torch.equal(model[0].bias.grad, torch.full((40,), 9.0))
    model[0].forward = lambda x: x + 1
    kernels = [generation_kernels(model, PackedWeights()) for _ in range(2)]
    with torch.inference_mode(), kernels[0], kernels[1]:
        assert torch.equal(model(x), x + 1)
    assert "forward" in vars(model[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_other_types_stay_what_they_are(dtype: torch.dtype) -> None:
    model = layer("linear")
    x = torch.randn(9, 24)
    with torch.inference_mode(), torch.autocast("cpu", dtype):
        expected = model(x)
        with generation_kernels(model, PackedWeights()):
            got = model(x)
    assert got.dtype == expected.dtype == dtype
    torch.testing.assert_close(got, expected, atol=2e-2, rtol=2e-2)


def test_nothing_stays_behind_and_contexts_may_be_nested() -> None:
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(n_layer=1, n_embd=16, n_head=2, vocab_size=20, n_positions=8)
    ).eval()
    before = [dict(vars(module)) for module in model.modules()]
    ids = torch.arange(8)[None]
    with torch.inference_mode():
        expected = model(ids).logits
        with generation_kernels(model, PackedWeights()):
            with generation_kernels(model, PackedWeights()):
                inner = model(ids).logits
            torch.testing.assert_close(inner, expected)
            assert torch.equal(model(ids).logits, inner)
        with pytest.raises(IndexError), generation_kernels(model, PackedWeights()):
            model(ids + 100)
        assert torch.equal(model(ids).logits, expected)
    for module, old in zip(model.modules(), before, strict=True):
        assert vars(module).keys() == old.keys()
