"""Float32 layers for generation on processors where PyTorch's own way leaves half of them unused.

PyTorch multiplies float32 matrices with MKL, which keeps to 256-bit vectors on processors that
Intel did not make. oneDNN, which PyTorch brings along, takes 512 bits: twice the rate from 16 rows
on, on the weights as they are (docs/LOG.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import FastGELUActivation, NewGELUActivation
from transformers.pytorch_utils import Conv1D

# 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), written out as eight tensors
WRITTEN_OUT_GELU = (NewGELUActivation, FastGELUActivation)

# With fewer rows a product waits for the weights to be read, and MKL starts sooner.
_FEWEST_ROWS = 4


def has_wide_vectors() -> bool:
    """Whether oneDNN's float32 products are the faster ones here."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.cpu, "get_capabilities")):
        return False
    about = torch.cpu.get_capabilities()
    maker = about.get("cpu_name")
    return bool(about.get("avx512_f") and maker) and "Intel" not in maker and _works()


def _works() -> bool:
    """The product is no public function of PyTorch: a version may come without it."""
    try:
        return bool(_product(torch.ones(4, 8), torch.ones(2, 8), None).eq(8).all())
    except (AttributeError, RuntimeError):
        return False


@contextmanager
def generation_kernels(model: nn.Module) -> Iterator[None]:
    """Run the plain layers of `model` through faster kernels inside, and as they are after.

    Their weights are read where they lie. Layers whose forward somebody else has replaced are left
    alone, and so is everything that autograd or autocast has a part in.
    """
    replaced = []
    for module in model.modules():
        forward = _FORWARDS.get(type(module))
        if forward is not None and "forward" not in vars(module):
            vars(module)["forward"] = partial(forward, module)
            replaced.append(module)
    try:
        yield
    finally:
        for module in replaced:
            vars(module).pop("forward", None)


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    if not _suits(x, layer.weight):
        return F.linear(x, layer.weight, layer.bias)
    return _product(x, layer.weight, layer.bias)


def _conv1d(layer: Conv1D, x: Tensor) -> Tensor:
    if not _suits(x, layer.weight):
        return Conv1D.forward(layer, x)
    return _product(x, layer.weight.T, layer.bias)


def _gelu(_layer: nn.Module, x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _suits(x: Tensor, weight: Tensor) -> bool:
    return (
        x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu"
        and x.numel() >= _FEWEST_ROWS * x.shape[-1]
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


def _product(x: Tensor, weight_OI: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight_OI, bias, "none", [], "")


_FORWARDS: dict[type[nn.Module], Callable[..., Tensor]] = dict.fromkeys(WRITTEN_OUT_GELU, _gelu)
if has_wide_vectors():
    _FORWARDS |= {nn.Linear: _linear, Conv1D: _conv1d}
