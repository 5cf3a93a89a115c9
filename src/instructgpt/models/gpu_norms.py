"""RMS norms in one kernel instead of seven; on a GPU a small kernel costs its launch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel


class FusedRMSNorm(nn.RMSNorm):
    """PyTorch's, also for states of another type than the weights (its own warns and is slow)."""

    def forward(self, states: Tensor) -> Tensor:
        dtype = torch.promote_types(states.dtype, self.weight.dtype)
        return F.rms_norm(states.to(dtype), self.normalized_shape, self.weight.to(dtype), self.eps)


def use_gpu_norms(model: PreTrainedModel) -> None:
    """Replace the RMS norms of `model` by fused ones with the same weights, if it is on a GPU.

    Only what computes the same: some norms of this name add 1 to the weight, or do more.
    """
    if model.device.type != "cuda":
        return
    for module in list(model.modules()):
        for name, child in module.named_children():
            fused = fused_norm(child)
            if fused is not None:
                setattr(module, name, fused)


@torch.no_grad()
def fused_norm(module: nn.Module) -> FusedRMSNorm | None:
    """A fused norm that shares `module`'s weight; None if it is not seen to compute the same."""
    weight = getattr(module, "weight", None)
    eps = getattr(module, "variance_epsilon", None)
    if eps is None or weight is None or weight.ndim != 1:
        return None
    fused = FusedRMSNorm(weight.shape, eps=eps, device="meta")
    fused.weight = weight
    states = torch.linspace(-2, 3, len(weight), device=weight.device).to(weight.dtype)[None]
    same = torch.allclose(module(states).float(), fused(states).float(), rtol=1e-2, atol=1e-3)
    return fused.train(module.training) if same else None
