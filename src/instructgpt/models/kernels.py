"""The same model, faster: kernels, and memory; nothing of it is saved with the model."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

from instructgpt.models.attention import use_cpu_attention
from instructgpt.models.cpu_memory import keep_freed_memory
from instructgpt.models.embedding_gradients import spare_embedding_gradients
from instructgpt.models.gpu_kernels import use_gpu_kernels
from instructgpt.models.products import WRITTEN_OUT_GELU


def use_fast_kernels(model: PreTrainedModel) -> None:
    """Attention and activations of `model` where a faster way exists.

    Call it when the model is on its device. On a CPU the process keeps the memory it has had.
    """
    if model.device.type == "cpu":
        keep_freed_memory()
        spare_embedding_gradients(model.get_input_embeddings())
    use_cpu_attention(model)
    use_gpu_kernels(model)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, WRITTEN_OUT_GELU):
                setattr(module, name, nn.GELU(approximate="tanh"))
