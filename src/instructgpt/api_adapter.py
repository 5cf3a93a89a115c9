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

AdapterSettings = Literal["none", "lora"] | Mapping[str, Any] | AdapterConfig
"""A type by name, or the settings that the stages have under `adapter`."""

# As LoRA is used in practice, and docs/adapters.md has it; not tuned here.
_LORA_RATE = 10.0


def adapter_config(given: AdapterSettings) -> AdapterConfig:
    """`given` as typed settings. Errors: ConfigError for a type or a setting that does not exist.

    Settings without a type are those of LoRA.
    """
    if isinstance(given, AdapterConfig):
        return given
    settings = {"type": given} if isinstance(given, str) else {"type": "lora", **given}
    return build(AdapterConfig, Settings(settings), "adapter.")


def learning_rate(model: CausalLM, factor: float, adapter: AdapterConfig) -> float:
    """Falls with the width, 1e-4 x `factor` at GPT-2's 768; ten times that for an adapter."""
    width = model.model.config.get_text_config().hidden_size
    return factor * 1e-4 * 768 / float(width) * (1.0 if adapter.type == "none" else _LORA_RATE)


@contextmanager
def wearing(lm: CausalLM, adapter: AdapterConfig, source: str, seed: int) -> Iterator[None]:
    """A block in which `lm` trains this adapter; then, also after an error, it is merged."""
    if adapter.type == "none":
        yield
        return
    attach_lora(lm, adapter, base=source, seed=seed)
    assert lm.adapter is not None
    try:
        yield
    finally:
        merge_in_place(lm.model, lm.adapter)
        lm.adapter = None
