"""Write a checkpoint that the rest of the ecosystem loads: a plain Hugging Face directory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from instructgpt.models.card import model_card
from instructgpt.models.quiet import quiet_transformers
from instructgpt.storage.atomic import publish_directory
from instructgpt.text.chat_template import ChatRenderer


def export_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    destination: Path,
    facts: dict[str, Any],
    check: Callable[[Path], None] | None = None,
) -> None:
    """Save weights, tokenizer, chat template and model card; atomic, replaces what was there.

    `check` looks at the files before they appear; what it raises leaves nothing behind.

    `facts` (stage, parents, data fingerprints, seed, metrics) become `instructgpt.json` and the
    model card, so that a directory explains itself.
    """
    with quiet_transformers(), publish_directory(destination) as folder:
        if model.can_generate():
            model.generation_config = GenerationConfig(
                eos_token_id=list(ChatRenderer(tokenizer).stop_ids),
                pad_token_id=tokenizer.pad_token_id,
                bos_token_id=tokenizer.bos_token_id,
            )
        model.save_pretrained(folder)
        save_tokenizer(tokenizer, folder)
        (folder / "instructgpt.json").write_text(
            json.dumps(facts, ensure_ascii=False, indent=2, sort_keys=True), encoding="utf-8"
        )
        (folder / "README.md").write_text(model_card(model.config, facts), encoding="utf-8")
        if check is not None:
            check(folder)


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Tokenizer and chat template, as transformers 4 and 5 load them."""
    tokenizer.save_pretrained(folder)
    # transformers 5 writes a class name that 4.x refuses; the old name loads in both
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        path.write_text(json.dumps(config, ensure_ascii=False, indent=2), encoding="utf-8")
