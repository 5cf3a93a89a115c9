"""A cache of slots and the way to advance it: step by step, or by recordings of steps.

Shapes: N live rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from instructgpt.rollout.forward import ForwardPass
from instructgpt.rollout.kv_cache import SlotCache
from instructgpt.rollout.recorded_step import RecordedStep, Recorder, Size, size_for
from instructgpt.rollout.types import SamplingParams

# oneDNN compiles a matrix product when it first sees its size, which takes as long as the product
# itself: on a CPU, batches have sizes in steps of so many rows.
_ROWS_STEP = 4


class Slots:
    """At most `max_slots` rows of one model.

    new_recorder: what makes recorders of steps; None where they are not recorded.
    """

    def __init__(
        self,
        forward: ForwardPass,
        max_slots: int,
        new_recorder: Callable[[], Recorder] | None,
    ) -> None:
        self.cache = SlotCache(max_slots)
        self.device = forward.device
        self._forward = forward
        self._recorded = None
        if new_recorder is not None:
            self._recorded = RecordedStep(self._feed, max_slots, self.device, new_recorder)
        self._model: Hashable = None

    @property
    def records(self) -> bool:
        """Whether `choose` is there."""
        return self._recorded is not None

    def look_at_model(self) -> None:
        """Notice weights that lie elsewhere, and other adapters, since the last call."""
        if self._recorded is not None:
            self._model = self._forward.fingerprint()

    def advance(self, ids: Sequence[int], positions: Sequence[int]) -> Tensor:
        """Logits NV after feeding row i `ids[i]` at `positions[i]`, until the next call."""
        width = max(positions) + 1
        if self._recorded is None:
            ids_N, positions_N = torch.tensor([ids, positions], device=self.device)
            return self._feed(ids_N, positions_N, width)
        return self._recorded.logits(ids, positions, self._make_size(len(ids), width))

    def choose(
        self,
        ids: Sequence[int],
        positions: Sequence[int],
        uniforms: Sequence[float],
        how: SamplingParams,
    ) -> tuple[Tensor, Tensor]:
        """`advance` and each row's next token with its log-prob, as one recording, if `records`."""
        assert self._recorded is not None
        size = self._make_size(len(ids), max(positions) + 1)
        ids_N, logprobs_N = self._recorded.choose(ids, positions, uniforms, size, how)
        return ids_N, logprobs_N.clone()

    def _feed(self, ids_N: Tensor, positions_N: Tensor, width: int) -> Tensor:
        """Logits NV after feeding row i the token `ids_N[i]` at `positions_N[i]` < `width`."""
        rows = len(ids_N)
        if ids_N.device.type == "cpu" and rows >= _ROWS_STEP:
            # what such a row writes lies in a slot that nobody holds
            spare = min(-rows % _ROWS_STEP, self.cache.max_slots - rows)
            ids_N, positions_N = (F.pad(x_N, (0, spare)) for x_N in (ids_N, positions_N))
        mask = self.cache.begin_step(positions_N, width)
        logits_NV = self._forward.last_logits(
            ids_N[:, None],
            attention_mask=mask,
            position_ids=positions_N[:, None],
            past_key_values=self.cache,
            use_cache=True,
        )
        return logits_NV[:rows]

    def _make_size(self, rows: int, width: int) -> Size:
        assert self._recorded is not None
        size = size_for(rows, width, self.cache.max_slots)
        self.cache.make_room(size.rows, size.width)
        self._recorded.keep_while((self._model, self.cache.moves))
        return size
