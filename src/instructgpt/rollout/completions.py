"""Completions in the making, and the one rule that ends them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from instructgpt.rollout.requests import Requests
from instructgpt.rollout.types import FinishReason


class Completions:
    """The tokens of every sequence so far; a sequence ends at an EOS or when its room is used up.

    tokens[q]: what sequence q has generated. finish_reasons[q]: None while it is going on.
    """

    def __init__(self, requests: Requests, eos_ids: Collection[int]) -> None:
        self.requests = requests
        self.tokens: list[list[int]] = [[] for _ in range(requests.num_sequences)]
        self.finish_reasons: list[FinishReason | None] = [None] * requests.num_sequences
        self.num_finished = 0
        self._eos_ids = frozenset(eos_ids)

    def record(self, sequences: Sequence[int], tokens: Sequence[int]) -> list[int]:
        """Append one token to each of `sequences`; returns the rows (indices) that ended by it."""
        ended = []
        for row, (sequence, token) in enumerate(zip(sequences, tokens, strict=True)):
            done = self.tokens[sequence]
            done.append(token)
            if token in self._eos_ids:
                self.finish_reasons[sequence] = "stop"
            elif len(done) >= self.requests.room[sequence // self.requests.n]:
                self.finish_reasons[sequence] = "length"
            else:
                continue
            ended.append(row)
        self.num_finished += len(ended)
        return ended

    @property
    def finished(self) -> bool:
        return self.num_finished == len(self.tokens)
