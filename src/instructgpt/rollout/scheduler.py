"""Who sits in which slot: the bookkeeping of continuous batching, without a tensor in sight.

Slots 0 .. live-1 are occupied, always without gaps, so that the model computes exactly the rows
that need it. A sequence's life: its prompt waits, is read together with prompts of similar length
(once for all n samples), the sequence is ready, takes a slot, leaves it when it ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Changes:
    """What must happen to the cache: sequences that enter a slot, and rows that move down a slot.

    entering: (slot, sequence). moving: (to slot, from slot). No slot occurs twice.
    """

    entering: list[tuple[int, int]] = field(default_factory=list)
    moving: list[tuple[int, int]] = field(default_factory=list)


class Scheduler:
    """Assigns sequences to at most `max_slots` slots. Prompts and sequences are numbers to it.

    prefill_tokens: the most tokens, padding included, that are read at once; a longer prompt is
    read alone.
    """

    def __init__(self, max_slots: int, prefill_tokens: int) -> None:
        self.live: list[int] = []
        self._max_slots = max_slots
        self._prefill_tokens = prefill_tokens
        self._waiting: deque[tuple[int, int]] = deque()  # prompt, its tokens
        self._ready: deque[int] = deque()
        self._free: list[int] = []

    def add(self, prompts: Sequence[int], lengths: Sequence[int]) -> None:
        """Prompts of so many tokens wait, behind those that were added before."""
        # Longest first: batches of similar length waste no padding, and what takes the most time
        # does not start last.
        together = zip(prompts, lengths, strict=True)
        self._waiting.extend(sorted(together, key=lambda waiting: (-waiting[1], waiting[0])))

    @property
    def finished(self) -> bool:
        return not (self._waiting or self._ready or len(self.live) > len(self._free))

    def next_prompts(self) -> list[int]:
        """Prompts to read now: none while enough sequences are ready for the free slots."""
        free = self._max_slots - len(self.live) + len(self._free)
        if len(self._ready) >= free:
            return []
        batch: list[int] = []
        width = 0
        while self._waiting and len(batch) < self._max_slots:
            width = max(width, self._waiting[0][1])
            if batch and width * (len(batch) + 1) > self._prefill_tokens:
                break
            batch.append(self._waiting.popleft()[0])
        return batch

    def forget_prompt(self, prompt: int) -> None:
        """This prompt need not be read any more; nothing happens if it has been."""
        self._waiting = deque(waiting for waiting in self._waiting if waiting[0] != prompt)

    def forget_sequence(self, sequence: int) -> None:
        """This sequence, ready or in a slot, is not wanted any more."""
        if sequence in self._ready:
            self._ready.remove(sequence)
        elif sequence in self.live:
            self.release([self.live.index(sequence)])

    def make_ready(self, sequences: Sequence[int]) -> None:
        """These sequences' prompts have been read; they may take a slot."""
        self._ready.extend(sequences)

    def release(self, rows: Sequence[int]) -> None:
        """The sequences in these slots have ended."""
        self._free.extend(rows)

    def settle(self) -> Changes:
        """Fill free slots with ready sequences, then close the gaps that are left."""
        changes = Changes()
        gaps = sorted(self._free)
        self._free.clear()
        while self._ready and (gaps or len(self.live) < self._max_slots):
            slot = gaps.pop(0) if gaps else len(self.live)
            self._seat(slot, self._ready.popleft())
            changes.entering.append((slot, self.live[slot]))
        empty = set(gaps)
        for gap in gaps:
            while self.live and len(self.live) - 1 in empty:
                self.live.pop()
            if gap >= len(self.live):
                break
            changes.moving.append((gap, len(self.live) - 1))
            self.live[gap] = self.live.pop()
            empty.discard(gap)
        return changes

    def _seat(self, slot: int, sequence: int) -> None:
        if slot == len(self.live):
            self.live.append(sequence)
        else:
            self.live[slot] = sequence
