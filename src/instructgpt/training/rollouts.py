"""Sampling settings as the engine wants them."""

from __future__ import annotations

from instructgpt.config.shared import SamplingConfig
from instructgpt.errors import ConfigError
from instructgpt.rollout.types import SamplingParams


def longest_prompt(context: int, config: SamplingConfig) -> int:
    """Tokens a prompt may have: its completion must fit, and the end token that scoring adds.

    Errors: ConfigError when nothing is left for the prompt.
    """
    longest = context - config.max_new_tokens - 1
    if longest < 1:
        raise ConfigError(
            f"sampling.max_new_tokens {config.max_new_tokens} leaves no room for a prompt in a "
            f"context of {context} tokens"
        )
    return longest


def sampling_params(config: SamplingConfig, seed: int) -> SamplingParams:
    """The engine's parameters for `config`; the seed decides every random draw."""
    return SamplingParams(
        max_new_tokens=config.max_new_tokens, temperature=config.temperature, seed=seed
    )
