"""A decode step that is recorded once per size and then repeated.

Launching the hundreds of small kernels of a step one by one takes a processor many times longer
than a GPU needs to run them. A recording repeats them in one call, but with the same addresses and
the same shapes: so inputs are copied into buffers that stay where they are, and the numbers of rows
and positions are rounded up to a few sizes.

Shapes: N live rows, R rows of a size, S rows at most, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from instructgpt.rollout.sampling import choose_tokens
from instructgpt.rollout.types import SamplingParams

# Choices that are recorded with the step: one setting of a server's clients more would be a
# recording of every size more, so the others are made outside.
GREEDY = SamplingParams(max_new_tokens=1, temperature=0.0)
PLAIN = SamplingParams(max_new_tokens=1)

Compute = Callable[[Tensor, Tensor, int], Tensor]
"""(ids_R, positions_R, width) -> logits RV; reads nothing else that changes between steps."""
Recorder = Callable[[Callable[[], None]], Callable[[], None]]
"""Records what the given function does on the device; the result does it again."""


class Size(NamedTuple):
    """What a step is padded to."""

    rows: int
    width: int


def size_for(rows: int, width: int, max_rows: int) -> Size:
    """The size that holds a step of `rows` rows whose longest attends to `width` positions.

    At most half more rows and a quarter more positions (or 64): few recordings, little waste.
    """
    return Size(min(max_rows, _round_up(rows, 2, 1)), _round_up(width, 4, 64))


def _round_up(value: int, parts: int, least: int) -> int:
    """To the next of `parts` equal steps between two powers of 2, each step at least `least`."""
    below = 1 << max(0, (value - 1).bit_length() - 1)
    step = max(least, below // parts)
    return -(-value // step) * step


def recorded_choice(params: Sequence[SamplingParams]) -> SamplingParams | None:
    """How rows with these settings choose together inside a recording; None if they do not."""
    if all(one.greedy for one in params):
        return GREEDY
    return (
        PLAIN if all((one.kind, one.temperature) == (PLAIN.kind, 1.0) for one in params) else None
    )


class RecordedStep:
    """Runs `compute` through fixed buffers for at most `max_rows` rows.

    The first step of a kind is run as it is, which is the warm-up that a recording needs; the
    second is recorded; the others repeat it. new_recorder: makes what records, anew after
    everything was forgotten.
    """

    def __init__(
        self,
        compute: Compute,
        max_rows: int,
        device: torch.device,
        new_recorder: Callable[[], Recorder],
    ) -> None:
        self._compute = compute
        self._max_rows = max_rows
        self._new_recorder = new_recorder
        self._valid_for: Hashable = None
        self._ids = torch.zeros(max_rows, dtype=torch.int64, device=device)
        self._positions = torch.zeros_like(self._ids)
        self._uniforms = torch.zeros(max_rows, device=device)
        self._chosen_ids = torch.zeros_like(self._ids)
        self._logprobs = torch.zeros_like(self._uniforms)
        self._forget()

    def keep_while(self, state: Hashable) -> None:
        """Forget all recordings unless `state`, all that they depend on, is what it was."""
        if state != self._valid_for:
            self._forget()
            self._valid_for = state

    def logits(self, ids: Sequence[int], positions: Sequence[int], size: Size) -> Tensor:
        """Logits NV of this step, until the next one.

        The rows that pad the step write a token 0 at position 0 of a slot that nobody holds.
        """
        self._fill(self._ids, ids, size)
        self._fill(self._positions, positions, size)
        self._play(size, None)
        assert self._logits is not None  # the first step of any size has made them
        return self._logits[: len(ids)]

    def choose(
        self,
        ids: Sequence[int],
        positions: Sequence[int],
        uniforms: Sequence[float],
        size: Size,
        how: SamplingParams,
    ) -> tuple[Tensor, Tensor]:
        """(ids_N, logprobs_N) of the tokens chosen after this step, until the next one.

        how: GREEDY, which reads no uniforms, or PLAIN.
        """
        self._fill(self._ids, ids, size)
        self._fill(self._positions, positions, size)
        self._fill(self._uniforms, uniforms, size)
        self._play(size, how)
        return self._chosen_ids[: len(ids)], self._logprobs[: len(ids)]

    def _fill(self, buffer_S: Tensor, values: Sequence[float], size: Size) -> None:
        padded = [*values, *[0] * (size.rows - len(values))]
        buffer_S[: size.rows] = torch.tensor(padded, dtype=buffer_S.dtype)

    def _play(self, size: Size, how: SamplingParams | None) -> None:
        kind = (size, how)
        if kind in self._recordings:
            self._recordings[kind]()
        elif kind not in self._warm:
            self._warm.add(kind)
            self._run(size, how)
        else:
            recording = self._recordings[kind] = self._record(partial(self._run, size, how))
            recording()

    def _run(self, size: Size, how: SamplingParams | None) -> None:
        rows, width = size
        logits_RV = self._compute(self._ids[:rows], self._positions[:rows], width)
        if how is not None:
            uniforms_R1 = None if how.greedy else self._uniforms[:rows, None]
            ids_R1, logprobs_R1 = choose_tokens(logits_RV, uniforms_R1, how)
            self._chosen_ids[:rows], self._logprobs[:rows] = ids_R1[:, 0], logprobs_R1[:, 0]
            return
        if self._logits is None:
            self._logits = logits_RV.new_empty(self._max_rows, logits_RV.shape[1])
        # Into one buffer for all sizes: a recording keeps what it returns.
        self._logits[:rows] = logits_RV

    def _forget(self) -> None:
        self._record = self._new_recorder()
        self._recordings: dict[tuple[Size, SamplingParams | None], Callable[[], None]] = {}
        self._warm: set[tuple[Size, SamplingParams | None]] = set()
        self._logits: Tensor | None = None
