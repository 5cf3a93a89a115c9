"""Keys and values of all live sequences in one preallocated buffer, seen by the model as its cache.

The positions of a head lie one behind the other, because attention reads them so at every step.

Shapes: L layers, S slots, H key-value heads, C positions that fit, D head width; N live rows,
T prompt positions, B prompts read together, W positions attended to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

_POSITION_STEP = 64  # the buffer grows by at least this much


@dataclass(frozen=True, slots=True)
class PromptBlock:
    """Keys and values of prompts that were read together: LBHTD each."""

    keys: Tensor
    values: Tensor

    @classmethod
    def from_cache(cls, cache: DynamicCache, dtype: torch.dtype | None = None) -> PromptBlock:
        """What a forward pass left in `cache`; every layer must hold the same shapes.

        dtype: keep them in it. Under autocast that is the computing dtype: rotary embeddings leave
        keys in float32 beside bfloat16 values, and attention would round both at every step.
        """
        keys = torch.stack([layer.keys for layer in cache.layers])
        values = torch.stack([layer.values for layer in cache.layers])
        return cls(keys, values) if dtype is None else cls(keys.to(dtype), values.to(dtype))


class SlotLayer(CacheLayerMixin):
    """One layer's slots: writes each row's new key and value at that row's own position."""

    is_sliding = False

    def __init__(self, cache: SlotCache) -> None:
        super().__init__()
        self._cache = cache
        self.is_initialized = True

    def attach(self, keys_SHCD: Tensor, values_SHCD: Tensor) -> None:
        """Use these buffers from now on."""
        self.keys, self.values = keys_SHCD, values_SHCD
        self._flat_keys, self._flat_values = keys_SHCD.flatten(0, 2), values_SHCD.flatten(0, 2)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Take [N, H, 1, D], give [N, H, W, D], both in the cache's current step."""
        cache = self._cache
        new_keys = key_states.flatten(0, 2).to(self.keys.dtype)
        new_values = value_states.flatten(0, 2).to(self.values.dtype)
        self._flat_keys.index_copy_(0, cache.write_index, new_keys)
        self._flat_values.index_copy_(0, cache.write_index, new_values)
        rows, width = cache.rows, cache.width
        return self.keys[:rows, :, :width], self.values[:rows, :, :width]

    def get_seq_length(self) -> int:
        return self._cache.width - 1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._cache.width, 0

    def get_max_length(self) -> int:
        return -1

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to do: the buffers come from the first prompts that enter."""


class SlotCache(Cache):
    """The slots of all layers; rows 0 .. N-1 are live."""

    def __init__(self, max_slots: int) -> None:
        super().__init__(layers=[])
        self.max_slots = max_slots
        self.rows = 0
        self.width = 0
        self.moves = 0  # how often the buffers got another address
        self._expected_slots = 0
        self.write_index = torch.empty(0, dtype=torch.int64)
        """Where the step's N x H new vectors go among the S x H x C of a layer."""
        self._keys: Tensor | None = None  # LSHCD
        self._values: Tensor | None = None

    def expect(self, sequences: int) -> None:
        """So many will come: when the buffers grow next, they grow for as many at once."""
        self._expected_slots = min(sequences, self.max_slots)

    def make_room(self, slots: int, positions: int) -> None:
        """Hold at least so many; prompts must have entered before."""
        self._reserve(PromptBlock(self._keys, self._values), slots, positions)

    def enter(self, block: PromptBlock, block_rows: Sequence[int], slots: Sequence[int]) -> None:
        """Copy prompts of `block` into `slots`; a prompt may go into several."""
        width = block.keys.shape[3]
        self._reserve(block, slots=max(slots) + 1, positions=width + 1)
        from_rows, to_slots = torch.tensor([block_rows, slots], device=block.keys.device)
        self._keys[:, to_slots, :, :width] = block.keys[:, from_rows]
        self._values[:, to_slots, :, :width] = block.values[:, from_rows]

    def move(self, to_slots: Sequence[int], from_slots: Sequence[int]) -> None:
        """Move rows to other slots; no slot may be in both lists."""
        to_N, from_N = torch.tensor([to_slots, from_slots], device=self._keys.device)
        # Not index_select: that would first copy the whole buffer, whose used part has gaps.
        used = slice(self.width)
        self._keys[:, to_N, :, used] = self._keys[:, from_N, :, used]
        self._values[:, to_N, :, used] = self._values[:, from_N, :, used]

    def begin_step(self, positions_N: Tensor, width: int) -> Tensor:
        """Prepare a step in which row i is at `positions_N[i]` < `width`.

        Returns the additive attention mask, [N, 1, 1, width] in the cache's dtype.
        """
        self.make_room(slots=len(positions_N), positions=width)
        heads, capacity = self._keys.shape[2:4]
        self.rows, self.width = len(positions_N), width
        first_NH = torch.arange(self.rows * heads, device=positions_N.device).view(-1, heads)
        self.write_index = (first_NH * capacity + positions_N[:, None]).flatten()
        hidden_NW = torch.arange(width, device=positions_N.device) > positions_N.unsqueeze(1)
        mask_NW = torch.zeros(hidden_NW.shape, dtype=self._keys.dtype, device=positions_N.device)
        return mask_NW.masked_fill_(hidden_NW, -torch.inf)[:, None, None]

    def _reserve(self, like: PromptBlock, slots: int, positions: int) -> None:
        """Make the buffers large enough; they double, so that copying stays a small share."""
        if self._keys is not None and not _same_kind(self._keys, like.keys):
            self._keys = self._values = None  # the model was moved or cast since the last call
        have_slots, have_positions = (0, 0) if self._keys is None else self._keys.shape[1:4:2]
        if slots <= have_slots and positions <= have_positions:
            return
        if slots > have_slots:
            slots = min(self.max_slots, max(slots, 2 * have_slots, self._expected_slots))
        if positions > have_positions:
            positions = max(positions, 2 * have_positions)
            positions = -(-positions // _POSITION_STEP) * _POSITION_STEP
        shape = (max(slots, have_slots), max(positions, have_positions))
        self.moves += 1
        self._keys = _grown(self._keys, like.keys, shape)
        self._values = _grown(self._values, like.values, shape)
        if not self.layers:
            self.layers = [SlotLayer(self) for _ in range(len(self._keys))]
        for layer, keys_SHCD, values_SHCD in zip(
            self.layers, self._keys, self._values, strict=True
        ):
            layer.attach(keys_SHCD, values_SHCD)


def _same_kind(buffer: Tensor, other: Tensor) -> bool:
    return buffer.dtype == other.dtype and buffer.device == other.device


def _grown(buffer: Tensor | None, like: Tensor, shape: tuple[int, int]) -> Tensor:
    """`buffer` with room for (slots, positions)."""
    layers, _, heads, _, width = like.shape
    # zeros, not empty: a masked position still enters 0 x value, and 0 x NaN is NaN
    larger = like.new_zeros(layers, shape[0], heads, shape[1], width)
    if buffer is not None:
        larger[:, : buffer.shape[1], :, : buffer.shape[3]] = buffer
    return larger
