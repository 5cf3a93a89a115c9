"""Soft prompts on disk, each in peft's own format, and the models that they make.

adapter/          one for everything: PeftModel.from_pretrained(base, "adapter")
adapter/TASK/     one per task: PeftModel.from_pretrained(base, "adapter/TASK")

Beside each lies the tokenizer with the chat template it was trained with, without virtual tokens:
peft puts its own before what it is given.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from instructgpt.errors import CheckpointError
from instructgpt.models.adapter_files import CONFIG, WEIGHTS
from instructgpt.models.adapters import import_peft
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.export import save_tokenizer
from instructgpt.models.load import load_causal_lm, resolve_checkpoint, soft_prompt_folder
from instructgpt.models.soft_prompts import EVERYTHING, SoftPrompts
from instructgpt.storage.atomic import publish_directory

_KEY = "prompt_embeddings"


def save_soft_prompts(lm: CausalLM, folder: Path, facts: dict[str, Any]) -> None:
    """Write the soft prompts of `lm`; atomic, replaces what was there."""
    assert isinstance(lm.adapter, SoftPrompts)
    config = lm.model.config.get_text_config()
    location = resolve_checkpoint(lm.adapter.base)
    found = Path(location).exists()
    with publish_directory(folder) as out:
        for task, rows_ND in lm.adapter.state_dict().items():
            beside = out if task == EVERYTHING else out / task
            beside.mkdir(exist_ok=True)
            import_peft().PromptTuningConfig(
                task_type="CAUSAL_LM",
                base_model_name_or_path=str(Path(location).resolve()) if found else location,
                inference_mode=True,
                num_virtual_tokens=rows_ND.shape[0],
                token_dim=rows_ND.shape[1],
                num_transformer_submodules=1,
                num_layers=config.num_hidden_layers,
                num_attention_heads=getattr(config, "num_attention_heads", None),
            ).save_pretrained(beside)
            save_file({_KEY: rows_ND.cpu().contiguous()}, beside / WEIGHTS)
            save_tokenizer(lm.tokenizer, beside)
        described = {**facts, "base_weights": lm.adapter.base_weights}
        text = json.dumps(described, ensure_ascii=False, indent=2, sort_keys=True)
        (out / "instructgpt.json").write_text(text, encoding="utf-8")


def read_soft_prompts(folder: Path) -> dict[str, Tensor]:
    """The trained rows by task, as `SoftPrompts.load_state_dict` takes them."""
    return {task: _read_rows(path) for task, path in _folders(folder).items()}


def load_answering_lm(
    source: str | Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    chat_template: str | None = None,
) -> CausalLM:
    """A model that is only asked: a causal LM, or soft prompts with the model under them.

    Errors: CheckpointError when there is no model, or not the one that they were trained on.
    """
    folder = soft_prompt_folder(source)
    if folder is None:
        return load_causal_lm(source, device=device, dtype=dtype, chat_template=chat_template)
    paths = _folders(folder)
    first = next(iter(paths.values()))
    base = json.loads((first / CONFIG).read_text("utf-8"))["base_model_name_or_path"]
    try:
        lm = load_causal_lm(
            base,
            device=device,
            dtype=dtype,
            chat_template=chat_template,
            tokenizer=first if (first / "tokenizer_config.json").is_file() else None,
        )
    except CheckpointError as error:
        raise CheckpointError(f"'{source}' needs the model under it: {error}") from error
    lm.adapter = SoftPrompts(lm, read_soft_prompts(folder), base)
    if _trained_on(folder) not in (None, lm.adapter.base_weights):
        raise CheckpointError(
            f"'{source}' was trained on other weights than those that are now in '{base}'"
        )
    return lm


def _trained_on(folder: Path) -> str | None:
    """The fingerprint of the model under them; None of what others have trained."""
    for facts in (folder / "instructgpt.json", folder.parent / "instructgpt.json"):
        if facts.is_file():
            found: str | None = json.loads(facts.read_text("utf-8")).get("base_weights")
            return found
    return None


def _folders(folder: Path) -> dict[str, Path]:
    """Where each task's soft prompt lies."""
    if (folder / CONFIG).is_file():
        return {EVERYTHING: folder}
    return {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{CONFIG}"))}


def _read_rows(folder: Path) -> Tensor:
    state = load_file(folder / WEIGHTS)
    if set(state) != {_KEY}:
        raise CheckpointError(f"'{folder}': {WEIGHTS} holds no soft prompt")
    return state[_KEY]
