"""The oracle: the engine's answers by the shortest path from the definition to the token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from instructgpt.rollout.engine import BaseEngine
from instructgpt.rollout.plain_decoder import PlainDecoder
from instructgpt.rollout.steps import Decoder


class SlowEngine(BaseEngine):
    """`Engine` without cache, batches or padding: one full forward pass per token.

    Same calls and same results; for tests, and for whoever doubts the fast one.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        eos_ids: Sequence[int],
        max_context: int | None = None,
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(model, eos_ids, max_context=max_context, dtype=dtype)
        self._plain = PlainDecoder(self.forward)

    def decoder(self, longest: int) -> Decoder:
        return self._plain
