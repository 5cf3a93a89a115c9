"""Where soft prompts start: at the embedding of an instruction, or of random tokens."""

from __future__ import annotations

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from instructgpt.config.adapter import AdapterConfig
from instructgpt.errors import ConfigError
from instructgpt.models.adapters import import_peft
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.load import resolve_checkpoint
from instructgpt.models.soft_prompts import EVERYTHING, SoftPrompts


def attach_soft_prompts(lm: CausalLM, config: AdapterConfig, *, base: str, seed: int) -> None:
    """Freeze `lm`, loaded from `base`, and train soft prompts in its place.

    Each starts as the embedding of its instruction, repeated or cut to `virtual_tokens`, or of
    random tokens, the same for the same seed. Errors: ConfigError without peft, for a chat template
    whose tokens the frozen model has never seen, or an instruction without tokens; CheckpointError
    for a model that cannot be given embeddings.
    """
    import_peft()
    location = resolve_checkpoint(base)
    _refuse_new_tokens(lm, location)
    weight = lm.model.get_input_embeddings().weight.detach()
    random = torch.Generator().manual_seed(seed)
    rows = {}
    for task, text in (config.tasks or {EVERYTHING: config.instruction}).items():
        ids = _instruction_ids(lm.tokenizer, text, config.virtual_tokens, random)
        rows[task] = weight[torch.tensor(ids, device=weight.device)]
    lm.adapter = SoftPrompts(lm, rows, location)


def _instruction_ids(
    tokenizer: PreTrainedTokenizerBase, text: str, count: int, random: torch.Generator
) -> list[int]:
    if not text:
        return torch.randint(len(tokenizer), (count,), generator=random).tolist()
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    if not ids:
        raise ConfigError(f"adapter: the instruction {text!r} has no tokens to start from")
    return (ids * -(-count // len(ids)))[:count]


def _refuse_new_tokens(lm: CausalLM, location: str) -> None:
    """Special tokens that a template brought would keep the row they were given."""
    known = AutoTokenizer.from_pretrained(location).get_vocab()
    added = sorted(lm.tokenizer.get_vocab().keys() - known - {lm.tokenizer.pad_token})
    if added:
        raise ConfigError(
            f"a soft prompt leaves the model as it is, and it has never seen {', '.join(added)}; "
            "choose chat_template: plain or alpaca"
        )
