"""Rows of a pass one behind the other, so that no layer but attention ever sees padding.

Attention gathers rows of similar length, pads them, and puts its output back (ADR 22). It learns
where the rows are from a context variable: that reaches it through any architecture.

Shapes: B rows, N tokens of all of them, P places of the padded rows, H heads, D head width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Rows down to this share of the longest are padded to it, and all up to so many tokens; the next
# bucket begins below.
_SHORTEST = 0.6
_WIDE = 48
# Buckets have so many rows, and so many positions, or a multiple.
_ROWS, _WIDTH = 4, 8


class CannotLieSideBySide(Exception):
    """This architecture attends in a way that `RowLayout.attend` does not know."""


class RowLayout:
    """Where the tokens of each row are, and how rows are padded for attention.

    lengths: tokens of each row, in the order in which they lie; every row has some.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        lengths_B = torch.tensor(lengths)
        starts_B = lengths_B.cumsum(0) - lengths_B
        self.positions_N = torch.arange(sum(lengths)) - starts_B.repeat_interleave(lengths_B)
        self._buckets: list[tuple[int, int]] = []  # rows and width of each
        sources, real = [], []
        for rows in _rows_of_similar_length(lengths):
            count, width = _up_to(_ROWS, len(rows)), _up_to(_WIDTH, lengths[rows[0]])
            self._buckets.append((count, width))
            place_W = torch.arange(width)
            empty = (0, count - len(rows))
            last_R1 = F.pad(lengths_B[rows], empty)[:, None] - 1
            # What lies behind a row's end is its last token again: finite, seen by nobody.
            source_RW = F.pad(starts_B[rows], empty)[:, None] + place_W.minimum(last_R1).relu()
            sources.append(source_RW.flatten())
            real.append((place_W <= last_R1).flatten())
        self._source_P = torch.cat(sources)
        self._real_P = torch.cat(real)
        self._place_N = torch.empty_like(self.positions_N)
        self._place_N[self._source_P[self._real_P]] = self._real_P.nonzero().squeeze(1)

    def attend(
        self,
        attention: Callable[[Tensor, Tensor, Tensor], Tensor],
        query_1HND: Tensor,
        key_1HND: Tensor,
        value_1HND: Tensor,
    ) -> Tensor:
        """Run `attention` (causal, [rows, heads, width, D] in, width before heads out): 1NHD."""
        padded = [
            _Gather.apply(x[0].transpose(0, 1), self._source_P, self._place_N, None)
            for x in (query_1HND, key_1HND, value_1HND)
        ]
        sizes = [rows * width for rows, width in self._buckets]
        outputs = []
        for (rows, width), *parts in zip(
            self._buckets, *(x_PHD.split(sizes) for x_PHD in padded), strict=True
        ):
            inputs = [x.unflatten(0, (rows, width)).transpose(1, 2) for x in parts]
            outputs.append(attention(*inputs).flatten(0, 1))
        output_NHD = _Gather.apply(
            torch.cat(outputs), self._place_N, self._source_P, self._real_P[:, None, None]
        )
        return output_NHD[None]


class _Gather(torch.autograd.Function):
    """`x[places]`; the way back is a gather too, which PyTorch cannot know.

    back: for each element of x where its gradient is; real: False where it has none.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor, back: Tensor, real: Tensor | None) -> Tensor:
        ctx.back, ctx.real = back, real
        return x.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        grad = grad.index_select(0, ctx.back)
        return grad if ctx.real is None else grad.mul_(ctx.real), None, None, None


def spare_tokens(tokens: int) -> int:
    """How many more make up one of 32 sizes between a power of two and the next; steps of 8."""
    step = 1 << max(3, (tokens // 32).bit_length() - 1)
    return -tokens % step


def _up_to(step: int, size: int) -> int:
    return -(-size // step) * step


def _rows_of_similar_length(lengths: Sequence[int]) -> list[list[int]]:
    """Buckets of rows, the longest of each first."""
    buckets: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        widest = lengths[buckets[-1][0]] if buckets else 0
        if not buckets or (widest > _WIDE and lengths[row] < _SHORTEST * widest):
            buckets.append([])
        buckets[-1].append(row)
    return buckets


_LAYOUT: ContextVar[RowLayout | None] = ContextVar("layout of a pass", default=None)


def current_layout() -> RowLayout | None:
    """The layout of the pass that runs; None where rows are padded."""
    return _LAYOUT.get()


@contextmanager
def side_by_side(layout: RowLayout) -> Iterator[None]:
    """Passes inside are over one row that holds the rows of `layout`."""
    token = _LAYOUT.set(layout)
    try:
        yield
    finally:
        _LAYOUT.reset(token)
