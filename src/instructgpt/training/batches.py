"""Which examples a step sees: a function of seed and step, so resuming needs no saved cursor."""

from __future__ import annotations

import torch

from instructgpt.errors import DataError


class ShuffledStream:
    """Endless passes over `size` examples, each pass in its own order.

    Position p of the stream belongs to pass p // size; a batch may cross the border of two passes,
    so every example is seen equally often whatever the batch size.
    """

    def __init__(self, size: int, seed: int, what: str = "examples") -> None:
        if size == 0:
            raise DataError(f"there are no {what} to train on; look at the counts printed above")
        self.size = size
        self.seed = seed
        self._order = (-1, torch.empty(0, dtype=torch.int64))

    def indices(self, start: int, count: int) -> list[int]:
        """Example indices at stream positions start .. start + count - 1."""
        return [self._at(position) for position in range(start, start + count)]

    def _at(self, position: int) -> int:
        epoch, offset = divmod(position, self.size)
        if self._order[0] != epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._order = (epoch, torch.randperm(self.size, generator=generator))
        return int(self._order[1][offset])
