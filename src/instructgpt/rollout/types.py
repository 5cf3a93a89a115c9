"""What generation takes and gives: sampling settings, finished completions, and a time table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from instructgpt.errors import EngineError

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to choose the next token.

    max_new_tokens: a completion is cut there, EOS included. temperature: 0 is greedy. top_k: keep
    the k most likely tokens (and all ties with the k-th); 0 keeps all. top_p: of those, keep the
    fewest most likely ones whose probabilities sum to at least top_p; 1 keeps all. seed: every
    random number of a request follows from it, the prompt's key and the sample's index.

    Errors: EngineError for a value out of range.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise EngineError(f"max_new_tokens is {self.max_new_tokens}; it must be at least 1")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise EngineError(f"temperature is {self.temperature}; it must be 0 (greedy) or more")
        if self.top_k < 0:
            raise EngineError(f"top_k is {self.top_k}; it must be 0 (off) or more")
        if not 0 < self.top_p <= 1:
            raise EngineError(f"top_p is {self.top_p}; it must lie in (0, 1]")

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.temperature == 0

    @property
    def kind(self) -> tuple[bool, int, float]:
        """What rows must agree in to be sampled together; each may have its own temperature."""
        return self.greedy, self.top_k, self.top_p


@dataclass(frozen=True, slots=True)
class LogitChanges:
    """What is added to the logits before anything else: OpenAI's penalties and biases.

    presence: taken from the logit of every token that the completion holds already. frequency:
    taken once for each time it does. bias: token id to what is added, always.
    """

    presence: float = 0.0
    frequency: float = 0.0
    bias: Mapping[int, float] = field(default_factory=dict)

    def after(self, tokens: Sequence[int]) -> dict[int, float]:
        """Token id to what is added, when these tokens have been generated."""
        added = dict(self.bias)
        if self.presence or self.frequency:
            for token, count in Counter(tokens).items():
                added[token] = added.get(token, 0.0) - self.presence - self.frequency * count
        return added


@dataclass(frozen=True, slots=True)
class Rollout:
    """One completion of one prompt.

    completion_ids: what was generated, with the EOS that ended it. logprobs: one per completion
    token, in nats, under the distribution that was sampled from (temperature, top-k and top-p
    applied and renormalised); for greedy choice, under the model itself (temperature 1).
    finish_reason: "stop" when an EOS ended it, "length" when a limit did.
    """

    prompt_ids: tuple[int, ...]
    completion_ids: list[int]
    logprobs: list[float]
    finish_reason: FinishReason

    @property
    def has_eos(self) -> bool:
        """Whether the completion ended by itself."""
        return self.finish_reason == "stop"


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """What the model itself (temperature 1, nothing cut off) said where a token was chosen.

    logprob: of the chosen token. top: (token id, log-prob) of the likeliest, best first.
    """

    logprob: float
    top: list[tuple[int, float]]


@dataclass(slots=True)
class EngineStats:
    """Where the last call's time went.

    prompt_tokens: tokens read, each prompt once however many samples it has. decode_row_steps: rows
    computed after the prompts, the number that continuous batching keeps small.
    """

    prompt_tokens: int = 0
    generated_tokens: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    decode_row_steps: int = 0
