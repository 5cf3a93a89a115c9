"""Compiled blocks: training in fewer, larger kernels. Generation always runs them as written."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from weakref import WeakSet

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from instructgpt.errors import ConfigError
from instructgpt.models.trainable import TrainableModel

_COMPILED: WeakSet[nn.Module] = WeakSet()


def compile_models(models: Mapping[str, TrainableModel], wanted: bool) -> None:
    """Compile every block of `models` at its first use, once for all lengths, if `wanted`.

    Errors: ConfigError for models with adapters, which are switched within a step, for
    architectures whose blocks `transformers` does not mark, and where nothing can be compiled.
    """
    for name, model in models.items() if wanted else ():
        if model.adapter is not None:
            raise ConfigError(
                "compile=true is for full fine-tuning: set adapter.type=none or compile=false"
            )
        blocks = _blocks(model.model)
        if not blocks:
            raise ConfigError(
                f"compile=true: no blocks are known of the {name} ({type(model.model).__name__}); "
                "set compile=false"
            )
        require_compiler(model.device)
        model.padding_free = False  # its buckets would be compiled by the number
        for block in blocks:
            block.compile(dynamic=True)
            _COMPILED.add(block)


def require_compiler(device: torch.device) -> None:
    """Compile something small. Errors: ConfigError where that fails: no C++ compiler, say."""
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(8, device=device))
    except RuntimeError as error:
        why = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"compile=true: nothing can be compiled here ({why}); on a processor that takes a C++ "
            "compiler (apt install g++); or set compile=false"
        ) from error


def as_written(model: nn.Module) -> AbstractContextManager[object]:
    """A block of code in which nothing of `model` runs compiled.

    Decoding changes a shape with every token, and would be compiled for each.
    """
    if any(module in _COMPILED for module in model.modules()):
        return torch.compiler.set_stance("force_eager")
    return nullcontext()  # not even the import of the compiler


def _blocks(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
