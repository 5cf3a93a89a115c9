"""Compiled blocks: training in fewer, larger kernels. Generation always runs them as written."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from instructgpt.errors import ConfigError
from instructgpt.models.trainable import TrainableModel


def compile_models(models: Mapping[str, TrainableModel], wanted: bool) -> None:
    """Compile every block of `models` at its first use, once for all lengths, if `wanted`.

    Errors: ConfigError for models with adapters, which are switched within a step, and for
    architectures whose blocks `transformers` does not mark.
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
        for block in blocks:
            block.compile(dynamic=True)


def as_written(model: nn.Module) -> AbstractContextManager[object]:
    """A block of code in which nothing of `model` runs compiled.

    Decoding changes a shape with every token, and would be compiled for each.
    """
    if any(block._compiled_call_impl is not None for block in _blocks(model)):
        return torch.compiler.set_stance("force_eager")
    return nullcontext()  # not even the import of the compiler


def _blocks(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
