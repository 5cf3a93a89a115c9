"""One forward pass of a causal language model for generation, and the state it must be in."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from instructgpt.models.precision import autocast


class ForwardPass:
    """Calls `model` on token ids and returns logits, never more of them than asked for.

    dtype: compute in it (autocast) when given, else as the model is.
    """

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype | None) -> None:
        self.model = model
        self.dtype = dtype
        self._arguments = frozenset(inspect.signature(model.forward).parameters)

    @property
    def device(self) -> torch.device:
        return self.model.device

    def accepts(self, argument: str) -> bool:
        """Whether the model's forward names this argument."""
        return argument in self._arguments

    @property
    def vocab_size(self) -> int:
        """How many token ids the model can write."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    @property
    def readable_ids(self) -> int:
        """How many it can read: virtual tokens come after the vocabulary."""
        embedding = self.model.get_input_embeddings()
        return max(self.vocab_size, getattr(embedding, "num_embeddings", 0))

    def logits_at(self, ids_BT: Tensor, last_B: Tensor, **kwargs: Any) -> Tensor:
        """Logits of one position per row, BV: `last_B` are the positions."""
        rows_B = torch.arange(len(last_B), device=last_B.device)
        if not self.accepts("logits_to_keep"):
            return self.model(input_ids=ids_BT, **kwargs).logits[rows_B, last_B]
        # Rows are sorted by length, so few positions differ and the vocabulary is only paid there.
        kept, column_B = torch.unique(last_B, return_inverse=True)
        return self.model(input_ids=ids_BT, logits_to_keep=kept, **kwargs).logits[rows_B, column_B]

    def last_logits(self, ids_NT: Tensor, **kwargs: Any) -> Tensor:
        """Logits of the last position, NV."""
        if self.accepts("logits_to_keep"):
            kwargs["logits_to_keep"] = 1
        return self.model(input_ids=ids_NT, **kwargs).logits[:, -1]

    def uncached_logits(self, ids: Sequence[int]) -> Tensor:
        """Logits V of the token after `ids`, by reading all of them and nothing else."""
        ids_1T = torch.tensor([list(ids)], device=self.device)
        # ones, or some models suspect padding when a sampled token happens to be their pad token
        mask = {"attention_mask": torch.ones_like(ids_1T)} if self.accepts("attention_mask") else {}
        return self.last_logits(ids_1T, use_cache=False, **mask)[0]

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Evaluation mode, no autograd, the computing dtype; the model's mode comes back after."""
        training = [module for module in self.model.modules() if module.training]
        if training:
            self.model.eval()
        try:
            with torch.inference_mode():
                if self.dtype is None:
                    yield
                else:
                    with autocast(self.device, self.dtype):
                        yield
        finally:
            for module in training:
                module.training = True
