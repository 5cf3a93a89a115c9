"""Which layers of a model get a LoRA adapter, and the two views of a model that has one.

attach_lora(policy, config.adapter, base=config.model, seed=0)   # only the adapter is trained
reference = without_adapter(policy)                              # the same tensors, adapter off
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn
from transformers.pytorch_utils import Conv1D

from instructgpt.config.adapter import ALL_LINEAR, AdapterConfig
from instructgpt.errors import ConfigError
from instructgpt.models.adapters import Adapter, Trunk, import_peft
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.load import resolve_checkpoint
from instructgpt.models.trainable import TrainableModel

if TYPE_CHECKING:
    from peft import LoraConfig

_LINEAR = (nn.Linear, Conv1D)


def attach_lora(
    model: TrainableModel, config: AdapterConfig, *, base: str, seed: int, name: str = "default"
) -> None:
    """Freeze `model`, loaded from `base`, and train a LoRA adapter in its place.

    The head of a scalar model stays trained. Errors: ConfigError for a layer that does not exist,
    naming those that do.
    """
    backbone = model.model.base_model
    settings = lora_config(backbone, config)
    location = resolve_checkpoint(base)
    found = Path(location).exists()
    settings.base_model_name_or_path = str(Path(location).resolve()) if found else location
    model.model.requires_grad_(False)
    model.adapter = Trunk(backbone).add(name, settings, seed, trained=True)
    model.adapter.train_head(getattr(model, "head", None))


def without_adapter(lm: CausalLM) -> CausalLM:
    """The model that `lm` started from: the same tensors, no second copy."""
    assert lm.adapter is not None
    return CausalLM(lm.model, lm.tokenizer, lm.dtype, Adapter(lm.adapter.trunk, None, {}))


def lora_config(backbone: nn.Module, config: AdapterConfig) -> LoraConfig:
    """peft's settings for ours; heads and embeddings are never among the layers."""
    names = _target_names(backbone, config.target_modules)
    linear = _linear_layers(backbone).items()
    return import_peft().LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=names,
        init_lora_weights=True if config.init == "kaiming" else config.init,
        # the layers of GPT-2 hold their weights transposed
        fan_in_fan_out=any(isinstance(m, Conv1D) for path, m in linear if _names(names, path)),
    )


def _linear_layers(backbone: nn.Module) -> dict[str, nn.Module]:
    return {path: m for path, m in backbone.named_modules() if isinstance(m, _LINEAR)}


def _names(names: list[str], path: str) -> bool:
    return any(path == name or path.endswith(f".{name}") for name in names)


def _target_names(backbone: nn.Module, wanted: tuple[str, ...]) -> list[str]:
    """The wanted layers as peft wants them: last parts of their paths."""
    linear = _linear_layers(backbone)
    others = {_last(path) for path, _ in backbone.named_modules() if path not in linear}
    if wanted == (ALL_LINEAR,):
        if not linear:
            raise ConfigError(f"adapter: {type(backbone).__name__} has no linear layers")
        # a name that also means a layer of another kind is given as the full path
        return sorted({path if _last(path) in others else _last(path) for path in linear})
    for name in wanted:
        if not any(_names([name], path) for path in linear):
            raise ConfigError(
                f"adapter.target_modules: '{name}' is no linear layer inside "
                f"{type(backbone).__name__}; it has {', '.join(sorted(set(map(_last, linear))))}"
            )
    return sorted(wanted)


def _last(path: str) -> str:
    return path.rpartition(".")[2]
