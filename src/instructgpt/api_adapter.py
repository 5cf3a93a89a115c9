"""What the `adapter` keyword of `InstructGPT` takes, and a model that wears one while it trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from instructgpt.config.adapter import AdapterConfig
from instructgpt.config.load import build
from instructgpt.config.yaml12 import Settings
from instructgpt.models.adapters import merge_in_place
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.lora import attach_lora
from instructgpt.models.soft_prompt_start import attach_soft_prompts

AdapterSettings = Literal["none", "lora", "soft_prompt"] | Mapping[str, Any] | AdapterConfig
"""A type by name, or the settings that the stages have under `adapter`."""

# As LoRA is used in practice, and docs/adapters.md has it; not tuned here.
_LORA_RATE = 10.0
_SOFT_PROMPT_RATE = 3e-2


def adapter_config(given: AdapterSettings) -> AdapterConfig:
    """`given` as typed settings. Errors: ConfigError for a type or a setting that does not exist.

    Settings without a type are those of LoRA.
    """
    if isinstance(given, AdapterConfig):
        return given
    settings = {"type": given} if isinstance(given, str) else {"type": "lora", **given}
    return build(AdapterConfig, Settings(settings), "adapter.")


def learning_rate(model: CausalLM, factor: float, adapter: AdapterConfig) -> float:
    """Falls with the width, 1e-4 x `factor` at GPT-2's 768; ten times that for LoRA.

    Embeddings of a soft prompt move by steps of their own size, whatever the width.
    """
    if adapter.type == "soft_prompt":
        return _SOFT_PROMPT_RATE
    width = model.model.config.get_text_config().hidden_size
    return factor * 1e-4 * 768 / float(width) * (1.0 if adapter.type == "none" else _LORA_RATE)


@contextmanager
def wearing(lm: CausalLM, adapter: AdapterConfig, source: str, seed: int) -> Iterator[None]:
    """A block in which `lm` trains this adapter.

    A low-rank update is then merged, also after an error; soft prompts stay, but not after one.
    """
    if adapter.type == "none":
        yield
        return
    if adapter.type == "soft_prompt":
        attach_soft_prompts(lm, adapter, base=source, seed=seed)
        try:
            yield
        except BaseException:
            lm.adapter.detach(lm.model)
            lm.adapter = None
            raise
        return
    attach_lora(lm, adapter, base=source, seed=seed)
    assert lm.adapter is not None
    try:
        yield
    finally:
        merge_in_place(lm.model, lm.adapter)
        lm.adapter = None
