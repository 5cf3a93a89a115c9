"""What the two kinds of model have in common: where they compute, and what of them is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from instructgpt.models.adapters import Adapter
from instructgpt.models.precision import autocast
from instructgpt.models.quiet import allow_right_padding
from instructgpt.models.soft_prompts import SoftPrompts


class TrainableModel:
    """A `transformers` model, its tokenizer, its computing dtype and, if any, its adapter.

    Without an adapter every weight is trained and saved; with one only the adapter, and it is on
    in every pass.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        dtype: torch.dtype = torch.float32,
        adapter: Adapter | SoftPrompts | None = None,
    ) -> None:
        allow_right_padding(model)
        self.model = model
        self.tokenizer = tokenizer
        self.dtype = dtype
        self.adapter = adapter

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id)

    @property
    def trained(self) -> nn.Module:
        """The module whose parameters an optimizer may move."""
        return self.model if self.adapter is None else self.adapter.trained

    def state_dict(self) -> dict[str, Any]:
        """What training changes, for a checkpoint."""
        return self.model.state_dict() if self.adapter is None else self.adapter.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse."""
        (self.adapter or self.model).load_state_dict(state)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """The state in which forward passes run: its adapter on, its dtype."""
        # A cast that was made without gradients must not be found by a pass that needs them.
        with autocast(self.device, self.dtype, keep_casts=torch.is_grad_enabled()):
            if self.adapter is None:
                yield
            else:
                with self.adapter.on():
                    yield
