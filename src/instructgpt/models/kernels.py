"""The same model through faster kernels; nothing of it is saved with the model."""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.activations import FastGELUActivation, NewGELUActivation

from instructgpt.models.attention import use_short_attention

# 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), written out as eight tensors
_WRITTEN_OUT = (NewGELUActivation, FastGELUActivation)


def use_fast_kernels(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Attention and activations of `model`, which computes in `dtype`, where a faster way exists.

    Call it when the model is on its device.
    """
    use_short_attention(model, dtype)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, _WRITTEN_OUT):
                setattr(module, name, nn.GELU(approximate="tanh"))
