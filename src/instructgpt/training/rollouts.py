"""Sampling settings as the engine wants them."""

from __future__ import annotations

from instructgpt.config.shared import SamplingConfig
from instructgpt.rollout.types import SamplingParams


def sampling_params(config: SamplingConfig, seed: int) -> SamplingParams:
    """The engine's parameters for `config`; the seed decides every random draw."""
    return SamplingParams(
        max_new_tokens=config.max_new_tokens, temperature=config.temperature, seed=seed
    )
