"""Layers for generation on processors where PyTorch's own way leaves half of them unused.

A step of generation multiplies a few rows with every weight. PyTorch brings the weights into the
layout of the kernel again at every product, which takes longer than the product, and multiplies
float32 with MKL, which keeps to 256-bit vectors on processors that Intel did not make. Here oneDNN,
which PyTorch brings along, multiplies with weights that are laid out once (docs/LOG.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import FastGELUActivation, NewGELUActivation
from transformers.pytorch_utils import Conv1D

from instructgpt.models.precision import cpu_has_bfloat16

# 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), written out as eight tensors
WRITTEN_OUT_GELU = (NewGELUActivation, FastGELUActivation)

# Rows that a layout is made for; it serves other numbers as well, but for 1 it is another one.
_ROWS = 64


class PackedWeights:
    """Weights of layers in the layout that oneDNN multiplies with: a second copy of them.

    Each is made at the layer's first use, and anew when the weight has changed since.
    """

    def __init__(self) -> None:
        self._packed: dict[nn.Module, tuple[object, Tensor, Tensor | None]] = {}

    def of(self, layer: nn.Linear | Conv1D, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """(packed weight, bias) in `dtype`; nobody but `multiply` can read the former."""
        weight, bias = layer.weight, layer.bias
        state = (_state(weight), None if bias is None else _state(bias), dtype)
        known = self._packed.get(layer)
        if known is None or known[0] != state:
            weight_OI = weight.T if isinstance(layer, Conv1D) else weight
            cast_O = None if bias is None else bias.to(dtype)
            known = self._packed[layer] = state, _pack(weight_OI.to(dtype)), cast_O
        return known[1:]

    def __deepcopy__(self, memo: dict[int, object]) -> PackedWeights:
        """A copy of a model that generates right now packs its own: nobody can copy these."""
        return PackedWeights()


def _state(tensor: Tensor) -> tuple[int, int]:
    """Another one when the values were changed or replaced; a write through `.data` goes unseen.

    Tensors of inference do not count changes.
    """
    return tensor.data_ptr(), -1 if tensor.is_inference() else tensor._version


@cache
def packs(dtype: torch.dtype) -> bool:
    """Whether oneDNN's products with packed weights are the faster ones here."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.cpu, "get_capabilities")):
        return False
    about = torch.cpu.get_capabilities()
    maker = about.get("cpu_name")
    if not (about.get("avx512_f") and maker) or "Intel" in maker:
        return False
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    return (dtype == torch.float32 or cpu_has_bfloat16()) and _works(dtype)


def _works(dtype: torch.dtype) -> bool:
    """These are no public functions of PyTorch: a version may come without them."""
    ones = torch.ones(4, 8, dtype=dtype)
    try:
        return bool(multiply(ones, _pack(ones[:2]), None).eq(8).all())
    except (AttributeError, RuntimeError):
        return False


@contextmanager
def generation_kernels(model: nn.Module, packed: PackedWeights) -> Iterator[None]:
    """Run the plain layers of `model` through faster kernels inside, and as they are after.

    packed: fills up with weights; whoever enters often keeps it. Layers whose forward somebody else
    has replaced are left alone, and so is everything that autograd has a part in.
    """
    replaced = []
    for module in model.modules():
        forward = _FORWARDS.get(type(module))
        if forward is not None and "forward" not in vars(module):
            vars(module)["forward"] = partial(forward, packed, module)
            replaced.append(module)
    try:
        yield
    finally:
        for module in replaced:
            vars(module).pop("forward", None)


def _layer(packed: PackedWeights, layer: nn.Linear | Conv1D, x: Tensor) -> Tensor:
    dtype = layer.weight.dtype
    if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        x = x.to(dtype)
    if x.device.type != "cpu" or x.dtype != dtype or torch.is_grad_enabled() or not packs(dtype):
        return type(layer).forward(layer, x)
    return multiply(x, *packed.of(layer, dtype))


def _gelu(_packed: PackedWeights, _layer: nn.Module, x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _pack(weight_OI: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight_OI, _ROWS)


def multiply(x: Tensor, packed_OI: Tensor, bias: Tensor | None) -> Tensor:
    """The layer's output, of the type that all three have."""
    return torch.ops.mkldnn._linear_pointwise(x, packed_OI, bias, "none", [], "")


_FORWARDS: dict[type[nn.Module], Callable[..., Tensor]] = dict.fromkeys(WRITTEN_OUT_GELU, _gelu)
_FORWARDS |= dict.fromkeys((nn.Linear, Conv1D), _layer)
