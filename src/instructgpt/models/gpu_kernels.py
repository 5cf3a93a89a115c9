"""A model on a GPU through kernels that read and write less; nothing of it is saved with it."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from instructgpt.models.gpu_attention import use_gpu_attention
from instructgpt.models.gpu_norms import use_gpu_norms


def use_gpu_kernels(model: PreTrainedModel) -> None:
    """Does nothing on other devices, or a second time."""
    if model.device.type != "cuda":
        return
    # cuDNN's attention is planned anew for every shape, which took longer than it saved (LOG.md):
    # hardly two batches of text have the same one.
    torch.backends.cuda.enable_cudnn_sdp(False)
    use_gpu_attention(model)
    use_gpu_norms(model)
