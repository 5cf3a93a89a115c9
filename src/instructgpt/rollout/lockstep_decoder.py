"""The careful way: prompts of equal length in one batch, all rows always at the same position.

No padding, no positions of our own, no mask beyond ones: whatever cache a model brings (sliding
windows, linear attention, convolutions) works as its authors meant it. Rows that end are dropped.

Shapes: P prompts, N rows, T positions, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache

from instructgpt.rollout.completions import Completions
from instructgpt.rollout.forward import ForwardPass
from instructgpt.rollout.requests import Requests
from instructgpt.rollout.sampling import changed_logits, choose_tokens, draw_uniforms
from instructgpt.rollout.steps import Step
from instructgpt.rollout.types import EngineStats


class LockstepDecoder:
    """Generates in batches of at most `max_rows` sequences whose prompts have the same length."""

    def __init__(self, forward: ForwardPass, max_rows: int) -> None:
        self._forward = forward
        self._max_rows = max_rows

    def steps(
        self, requests: Requests, completions: Completions, stats: EngineStats
    ) -> Iterator[Step]:
        """Run all requests; every step's tokens are recorded in `completions`, then yielded."""
        uniforms = draw_uniforms(requests)
        for sequences in self._batches(requests):
            yield from self._run_batch(sequences, requests, uniforms, completions, stats)

    def read_prompts(
        self, prompts: Sequence[Sequence[int]], rows: Sequence[int]
    ) -> tuple[Tensor, Cache]:
        """Next-token logits NV and the cache of the prompts `rows`, an index per row."""
        cache = DynamicCache(config=self._forward.model.config)
        ids_PT = torch.tensor(prompts, device=self._forward.device)
        logits_PV = self.advance(cache, ids_PT, len(prompts[0]))
        return self.select(cache, logits_PV, rows), cache

    def select(self, cache: Cache, of_rows: Tensor, rows: Sequence[int]) -> Tensor:
        """Make `rows` (repeated, dropped or moved) the batch, in the cache and in `of_rows`."""
        if list(rows) == list(range(len(of_rows))):
            return of_rows
        index_N = torch.tensor(rows, device=of_rows.device)
        cache.reorder_cache(index_N)
        return of_rows[index_N]

    def advance(self, cache: Cache, ids_NT: Tensor, seen: int) -> Tensor:
        """Logits NV after feeding `ids_NT`, with which every row has `seen` tokens."""
        mask_NT = torch.ones(len(ids_NT), seen, dtype=torch.int64, device=ids_NT.device)
        return self._forward.last_logits(
            ids_NT, attention_mask=mask_NT, past_key_values=cache, use_cache=True
        )

    def _batches(self, requests: Requests) -> Iterator[list[int]]:
        lengths = [len(prompt) for prompt in requests.prompts]
        by_length: dict[int, list[int]] = {}
        for sequence in range(requests.num_sequences):
            by_length.setdefault(lengths[sequence // requests.n], []).append(sequence)
        for _, sequences in sorted(by_length.items(), reverse=True):
            for start in range(0, len(sequences), self._max_rows):
                yield sequences[start : start + self._max_rows]

    def _run_batch(
        self,
        sequences: list[int],
        requests: Requests,
        uniforms: np.ndarray | None,
        completions: Completions,
        stats: EngineStats,
    ) -> Iterator[Step]:
        started = time.perf_counter()
        prompts = sorted({q // requests.n for q in sequences})
        row_of = {prompt: row for row, prompt in enumerate(prompts)}
        rows = [row_of[q // requests.n] for q in sequences]
        logits_NV, cache = self.read_prompts([requests.prompts[p] for p in prompts], rows)
        seen = len(requests.prompts[prompts[0]])
        stats.prompt_tokens += seen * len(prompts)
        stats.prefill_seconds += time.perf_counter() - started
        count = 0
        while True:
            started = time.perf_counter()
            uniforms_N1 = None
            if uniforms is not None:
                picked = torch.from_numpy(uniforms[sequences, count])
                uniforms_N1 = picked[:, None].to(logits_NV.device)
            logits_NV = changed_logits(
                logits_NV, requests, [completions.tokens[q] for q in sequences]
            )
            ids_N1, logprobs_N1 = choose_tokens(logits_NV, uniforms_N1, requests.params)
            ids = ids_N1.flatten().tolist()
            ended = set(completions.record(sequences, ids))
            step = Step(sequences, ids, logprobs_N1.flatten())
            going = [row for row in range(len(sequences)) if row not in ended]
            if going:
                ids_N1 = self.select(cache, ids_N1, going)
                count, seen = count + 1, seen + 1
                logits_NV = self.advance(cache, ids_N1, seen)
            stats.decode_row_steps += len(going)
            stats.decode_seconds += time.perf_counter() - started
            yield step
            if not going:
                return
            sequences = [sequences[row] for row in going]
