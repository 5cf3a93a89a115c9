"""What training a model takes, in bytes, by part, before anything is allocated for it.

Weights, gradients, optimizer states and key-value caches are counted; activations are estimated
from the shape of a block (docs/adapters.md has how far off that was).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from instructgpt.models.adapters import Adapter
from instructgpt.models.causal_lm import CausalLM, max_logits
from instructgpt.models.sliced_logprobs import slices_of
from instructgpt.models.trainable import TrainableModel

_GATED = ("gate_proj", "gate_up_proj", "w1")


def weight_bytes(models: Mapping[str, TrainableModel]) -> dict[str, int]:
    """Bytes per model, each tensor counted for the first model that holds it."""
    seen: set[int] = set()
    found: dict[str, int] = {}
    for name, model in models.items():
        fresh: dict[int, Tensor] = {}
        for tensor in [*model.model.parameters(), *model.model.buffers()]:
            if tensor.device.type != "meta" and tensor.data_ptr() not in seen:
                fresh[tensor.data_ptr()] = tensor
        seen |= fresh.keys()
        found[name] = sum(tensor.nbytes for tensor in fresh.values())
    return found


def trained_bytes(model: TrainableModel) -> int:
    """Bytes of the weights that an optimizer moves; their gradients take as many again."""
    return sum(p.nbytes for p in model.trained.parameters() if p.requires_grad)


def activation_bytes(model: TrainableModel, tokens: int) -> int:
    """What a forward pass over `tokens` keeps for backward, and a language model's logits.

    Per block and token: the two norms and residuals, query, key, value and attention output, and
    the MLP before and after its activation (and its gate). With low-rank updates one more vector
    of the layer's input and output each.
    """
    config = model.model.config.get_text_config()
    width = config.hidden_size
    queries, kv = _attention_widths(config)
    inner = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None)
    inner = inner or 4 * width
    gated = any(n.rpartition(".")[2] in _GATED for n, _ in model.model.named_modules())
    block = 2 * width + 2 * queries + 2 * kv + (4 if gated else 3) * inner
    wide = 4 * width  # norms and residuals stay in float32
    per_token = config.num_hidden_layers * (block * _size(model.dtype) + wide * 4)
    if isinstance(model.adapter, Adapter):
        per_token += config.num_hidden_layers * (6 * width + 2 * inner) * _size(model.dtype)
    if not isinstance(model, CausalLM):
        return tokens * per_token
    vocabulary = model.model.get_input_embeddings().weight.shape[0]
    # a chunk of logits, its gradient, and its log-softmax in float32; only a CPU leaves them narrow
    logit = _size(model.dtype) if model.device.type == "cpu" else 4
    each = logit if slices_of(model.model.get_output_embeddings()) else 2 * logit + 4
    return tokens * per_token + min(tokens * vocabulary, max_logits(model.device)) * each


def cast_bytes(model: TrainableModel) -> int:
    """Copies of the weights in the computing dtype, which backward needs, frozen or not."""
    if model.dtype == torch.float32:
        return 0
    elements = sum(parameter.numel() for parameter in model.model.parameters())
    return elements * _size(model.dtype)


def cache_bytes(model: PreTrainedModel, slots: int, positions: int, dtype: torch.dtype) -> int:
    """Keys and values of `slots` sequences of `positions` tokens."""
    config = model.config.get_text_config()
    _queries, kv = _attention_widths(config)
    return 2 * config.num_hidden_layers * slots * positions * kv * _size(dtype)


def _attention_widths(config: PreTrainedConfig) -> tuple[int, int]:
    """Width of all queries, and of all keys (or values), of a block.

    Recurrent models have no heads; their state is taken for attention as wide as the model.
    """
    heads = getattr(config, "num_attention_heads", None)
    if heads is None:
        return config.hidden_size, config.hidden_size
    head_width = getattr(config, "head_dim", None) or config.hidden_size // heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    return heads * head_width, kv_heads * head_width


def export_bytes(model: TrainableModel) -> int:
    """The merged copies of the adapted layers' weights, while they are written."""
    if not isinstance(model.adapter, Adapter):
        return 0
    layers = (layer.get_base_layer().weight for _, layer in model.adapter.trunk.layers())
    return sum(weight.nbytes for weight in layers)


def _size(dtype: torch.dtype) -> int:
    return torch.empty((), dtype=dtype).element_size()
