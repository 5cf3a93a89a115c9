"""The processes that train together, as launched by `torchrun`.

Every rank holds the whole model and the whole (small) batch of token ids; the work on microbatches
is shared out. Losses are divided by global counts, so gradients are SUMMED across ranks and the
result equals one process's within rounding (docs/adr/0005).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import ClassVar, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Item = TypeVar("Item")

# A rank that waits this long for another has lost it; without a limit it would wait for ever.
_TIMEOUT = timedelta(minutes=30)


class World:
    """Rank, size, and the collectives that stages need.

    waited: seconds that this process has spent in collectives, waiting for others included.
    """

    waited: ClassVar[float] = 0.0

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    @classmethod
    def from_launcher(cls) -> World:
        """Join the process group that `torchrun` describes; a lone process otherwise."""
        if not dist.is_torchelastic_launched():
            return cls()
        if not dist.is_initialized():
            backend = "nccl" if torch.cuda.is_available() else "gloo"
            if torch.cuda.is_available():
                torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
            dist.init_process_group(backend, timeout=_TIMEOUT)
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def is_main(self) -> bool:
        """Whether this rank writes files and shows progress."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> list[Item]:
        """This rank's part of `items`: every size-th one, starting at its rank."""
        return list(items[self.rank :: self.size])

    def gather_shares(self, shares: list[Item]) -> list[Item]:
        """The inverse of `share`: every rank's results, back in the order of the items."""
        if self.size == 1:
            return shares
        parts: list[list[Item]] = [[] for _ in range(self.size)]
        with _waiting():
            dist.all_gather_object(parts, shares)
        total = sum(len(part) for part in parts)
        return [parts[i % self.size][i // self.size] for i in range(total)]

    def sum_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Sum each tensor over all ranks, in place, in one message per dtype."""
        if self.size == 1:
            return
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_dtype.setdefault(tensor.dtype, []).append(tensor)
        for group in by_dtype.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in group])
            with _waiting():
                dist.all_reduce(flat)
            pieces = flat.split([tensor.numel() for tensor in group])
            for tensor, piece in zip(group, pieces, strict=True):
                tensor.copy_(piece.view_as(tensor))

    def barrier(self) -> None:
        """Wait until every rank has come here."""
        if self.size > 1:
            with _waiting():
                dist.barrier()

    def close(self) -> None:
        """Leave the process group."""
        if dist.is_initialized():
            dist.destroy_process_group()


@contextmanager
def _waiting() -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        World.waited += time.perf_counter() - start
