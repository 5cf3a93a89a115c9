"""Adapters on disk, in peft's own format: `PeftModel.from_pretrained(base, folder)` loads them."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from instructgpt.errors import CheckpointError
from instructgpt.models.adapters import Adapter, import_peft
from instructgpt.storage.atomic import publish_directory

if TYPE_CHECKING:
    from peft import LoraConfig

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def save_adapter(
    model: PreTrainedModel, adapter: Adapter, folder: Path, facts: dict[str, Any]
) -> None:
    """Write the adapter, its head if it has one, and the fingerprint of the weights under it."""
    config = copy.deepcopy(adapter.config)
    config.target_modules = sorted(config.target_modules)  # peft's set has no order of its own
    config.task_type = "CAUSAL_LM" if model.can_generate() else "SEQ_CLS"
    config.modules_to_save = ["score"] if "score.weight" in adapter.parameters else None
    config.inference_mode = True
    prefix = _prefix(model)
    state = {
        (f"base_model.model.{key}" if key == "score.weight" else f"{prefix}{key}"): tensor
        for key, tensor in adapter.state_dict().items()
    }
    with publish_directory(folder) as out:
        config.save_pretrained(out)
        save_file({k: v.cpu().contiguous() for k, v in state.items()}, out / WEIGHTS)
        described = {**facts, "base_weights": fingerprint_weights(adapter.trunk.module)}
        (out / "instructgpt.json").write_text(
            json.dumps(described, ensure_ascii=False, indent=2, sort_keys=True), encoding="utf-8"
        )


def read_adapter(
    folder: Path, model: PreTrainedModel
) -> tuple[LoraConfig, dict[str, torch.Tensor]]:
    """peft's settings and the weights under the names that `Adapter.load_state_dict` knows.

    `model` is the kind of model that the adapter was trained on. Errors: CheckpointError.
    """
    config = import_peft().LoraConfig.from_pretrained(folder)
    prefix = _prefix(model)
    state = {}
    for key, tensor in load_file(folder / WEIGHTS).items():
        if not key.startswith("base_model.model."):
            raise CheckpointError(f"'{folder}': '{key}' is no weight of a LoRA adapter")
        state[key.removeprefix(prefix).removeprefix("base_model.model.")] = tensor
    return config, state


def adapter_beside(model_folder: str | Path) -> Path | None:
    """The adapter that was merged into the model in this folder, if it was one of ours."""
    merged = Path(model_folder, "instructgpt.json")
    folder = Path(model_folder).parent / "adapter"
    if not merged.is_file() or not (folder / CONFIG).is_file():
        return None
    ours = [json.loads(p.read_text("utf-8")) for p in (merged, folder / "instructgpt.json")]
    return folder if ours[0]["fingerprint"] == ours[1]["fingerprint"] else None


def belongs_to(folder: Path, trunk: nn.Module) -> bool:
    """Whether the adapter was trained on exactly these frozen weights."""
    facts = json.loads((folder / "instructgpt.json").read_text("utf-8"))
    return bool(facts["base_weights"] == fingerprint_weights(trunk))


def fingerprint_weights(trunk: nn.Module) -> str:
    """Hex SHA-256 of a backbone's weights without its adapters, whatever their names on disk."""
    digest = hashlib.sha256()
    state = trunk.state_dict()
    for key in sorted(state, key=lambda key: key.replace(".base_layer.", ".")):
        if ".lora_" in key:
            continue
        tensor = state[key].detach().cpu().contiguous()
        digest.update(f"{key.replace('.base_layer.', '.')} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _prefix(model: PreTrainedModel) -> str:
    inner = "" if model.base_model is model else f"{model.base_model_prefix}."
    return f"base_model.model.{inner}"
