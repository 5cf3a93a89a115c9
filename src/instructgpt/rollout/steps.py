"""What every way of decoding produces: steps of one token for some of the sequences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from instructgpt.rollout.completions import Completions
from instructgpt.rollout.requests import Requests
from instructgpt.rollout.types import EngineStats, TokenLogprob


@dataclass(frozen=True, slots=True)
class Step:
    """One more token of each of `sequences`: parallel lists; logprobs stay on the device.

    model_logprobs: there when the requests ask for them and the decoder has the logits at hand.
    """

    sequences: list[int]
    tokens: list[int]
    logprobs: Tensor
    model_logprobs: list[TokenLogprob] | None = None


class Decoder(Protocol):
    """A way to run the model until every request has its completion."""

    def steps(
        self, requests: Requests, completions: Completions, stats: EngineStats
    ) -> Iterator[Step]:
        """Record every token in `completions` and yield it; count the work in `stats`."""
