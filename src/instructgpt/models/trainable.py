"""What the two kinds of model have in common: where they compute, and what of them is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from instructgpt.models.adapters import Adapter
from instructgpt.models.attention import can_lie_side_by_side
from instructgpt.models.batch import Passes, TokenBatch
from instructgpt.models.padding_free import RowLayout, side_by_side, spare_tokens
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

    @cached_property
    def padding_free(self) -> bool:
        """Whether passes read rows side by side, without padding: on a CPU, where it can."""
        return can_lie_side_by_side(self.model)

    @property
    def passes(self) -> Passes:
        """What its passes cost, for `token_budget_batches`."""
        return Passes(padded=False) if self.padding_free else Passes.of_padded_rows(self.device)

    def states_before(self, backbone: nn.Module, batch: TokenBatch) -> Tensor:
        """The first output of `backbone` at the token before each predicted one: ND."""
        lengths_B = (batch.lengths_B - 1).clamp_min(1)  # nothing follows the last token
        where_BT = batch.predicted_BT[:, 1:]
        return self.states_at(backbone, batch.token_ids_BT[:, :-1], lengths_B, where_BT)

    def states_at(
        self, backbone: nn.Module, token_ids_BT: Tensor, lengths_B: Tensor, where_BT: Tensor
    ) -> Tensor:
        """The first output of `backbone` at the positions `where_BT`, row after row: ND.

        lengths_B: tokens of each row, one or more; nothing behind them is read.
        """
        if not self.padding_free or len(lengths_B) == 1:
            output_BTD: Tensor = backbone(token_ids_BT, use_cache=False)[0]
            return output_BTD[where_BT]
        real_BT = torch.arange(token_ids_BT.shape[1]) < lengths_B[:, None]
        ids_N, lengths = token_ids_BT[real_BT], lengths_B.tolist()
        # One more row that nobody reads makes up a size that has probably been there before: a
        # processor's products are compiled for each.
        spare = spare_tokens(len(ids_N))
        if spare:
            ids_N = F.pad(ids_N, (0, spare), value=self.pad_id)
            lengths.append(spare)
        layout = RowLayout(lengths)
        with side_by_side(layout):
            output_1ND: Tensor = backbone(
                ids_N[None], position_ids=layout.positions_N[None], use_cache=False
            )[0]
        return output_1ND[0][F.pad(where_BT[real_BT], (0, spare))]
