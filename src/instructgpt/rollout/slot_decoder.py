"""The fast way: continuous batching, every row at its own position of a shared cache.

Shapes: B prompts read together, T positions, N live rows, K samples per prompt, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from instructgpt.rollout.completions import Completions
from instructgpt.rollout.forward import ForwardPass
from instructgpt.rollout.kv_cache import PromptBlock, SlotCache
from instructgpt.rollout.requests import Requests
from instructgpt.rollout.sampling import choose_tokens, draw_uniforms
from instructgpt.rollout.scheduler import Scheduler
from instructgpt.rollout.steps import Step
from instructgpt.rollout.types import EngineStats

# Large enough that the processor is busy, small enough that prompts do not pile up in memory.
PREFILL_TOKENS = 2048


class SlotDecoder:
    """Generates through a `SlotCache` of at most `max_slots` rows."""

    def __init__(self, forward: ForwardPass, pad_id: int, max_slots: int) -> None:
        self.forward = forward
        self._pad_id = pad_id
        self._max_slots = max_slots
        self._idle_cache: SlotCache | None = None

    def steps(
        self, requests: Requests, completions: Completions, stats: EngineStats
    ) -> Iterator[Step]:
        """Run all requests; every step's tokens are recorded in `completions`, then yielded."""
        # Taken, not shared: two calls that are interleaved must not write the same slots.
        cache, self._idle_cache = self._idle_cache, None
        cache = self.new_cache() if cache is None else cache
        run = _Run(self, requests, completions, stats, cache)
        yield from run.steps()
        self._idle_cache = cache

    def new_cache(self) -> SlotCache:
        return SlotCache(self._max_slots)

    def new_scheduler(self, requests: Requests) -> Scheduler:
        lengths = [len(prompt) for prompt in requests.prompts]
        return Scheduler(lengths, requests.n, self._max_slots, PREFILL_TOKENS)

    def read_prompts(self, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, PromptBlock]:
        """Next-token logits BV of right-padded prompts, and their keys and values."""
        width = max(map(len, prompts))
        padded = [[*p, *[self._pad_id] * (width - len(p))] for p in prompts]
        ids_BT = torch.tensor(padded, device=self.forward.device)
        last_B = torch.tensor([len(p) - 1 for p in prompts], device=self.forward.device)
        positions_T = torch.arange(width, device=self.forward.device)
        cache = DynamicCache()
        logits_BV = self.forward.logits_at(
            ids_BT,
            last_B,
            attention_mask=(positions_T <= last_B[:, None]).long(),
            position_ids=positions_T[None].expand(len(prompts), -1),
            past_key_values=cache,
            use_cache=True,
        )
        return logits_BV, PromptBlock.from_cache(cache, self.forward.dtype)

    def advance(self, cache: SlotCache, ids_N: Tensor, positions_N: Tensor, width: int) -> Tensor:
        """Logits NV after feeding row i the token `ids_N[i]` at `positions_N[i]` < `width`."""
        mask = cache.begin_step(positions_N, width)
        return self.forward.last_logits(
            ids_N[:, None],
            attention_mask=mask,
            position_ids=positions_N[:, None],
            past_key_values=cache,
            use_cache=True,
        )


class _Run:
    """The state of one call."""

    def __init__(
        self,
        decoder: SlotDecoder,
        requests: Requests,
        completions: Completions,
        stats: EngineStats,
        cache: SlotCache,
    ) -> None:
        self.cache = cache
        self._decoder = decoder
        self._requests = requests
        self._completions = completions
        self._stats = stats
        self._device = decoder.forward.device
        self._uniforms = draw_uniforms(requests, self._device)
        self._scheduler = decoder.new_scheduler(requests)
        self._read: dict[int, tuple[PromptBlock, int]] = {}  # sequence -> its prompt's block, row

    def steps(self) -> Iterator[Step]:
        while not self._scheduler.finished:
            prompts = self._scheduler.next_prompts()
            started = time.perf_counter()
            if prompts:
                step = self._prefill(prompts)
                self._stats.prefill_seconds += time.perf_counter() - started
            else:
                step = self._decode()
                self._stats.decode_seconds += time.perf_counter() - started
            yield step

    def _prefill(self, prompts: list[int]) -> Step:
        """Read prompts once and choose the first token of all their samples."""
        n = self._requests.n
        logits_BV, block = self._decoder.read_prompts([self._requests.prompts[p] for p in prompts])
        sequences = [p * n + k for p in prompts for k in range(n)]
        uniforms_BK = None
        if self._uniforms is not None:
            picked = torch.tensor(sequences, device=self._device)
            uniforms_BK = self._uniforms[:, 0][picked].view(len(prompts), n)
        ids_BK, logprobs_BK = choose_tokens(logits_BV, uniforms_BK, self._requests.params)
        ids, logprobs = ids_BK.expand(-1, n).flatten().tolist(), logprobs_BK.expand(-1, n).flatten()
        ended = set(self._completions.record(sequences, ids))
        going = [row for row in range(len(sequences)) if row not in ended]
        self._read.update({sequences[row]: (block, row // n) for row in going})
        self._scheduler.make_ready([sequences[row] for row in going])
        self._stats.prompt_tokens += sum(len(self._requests.prompts[p]) for p in prompts)
        return Step(sequences, ids, logprobs)

    def _decode(self) -> Step:
        """One more token for every live sequence."""
        self._change_slots()
        sequences = list(self._scheduler.live)
        counts = [len(self._completions.tokens[q]) for q in sequences]
        prompts = [self._requests.prompts[q // self._requests.n] for q in sequences]
        positions = [len(p) + c - 1 for p, c in zip(prompts, counts, strict=True)]
        previous = [self._completions.tokens[q][-1] for q in sequences]
        state = torch.tensor([previous, positions, sequences, counts], device=self._device)
        logits_NV = self._decoder.advance(self.cache, state[0], state[1], max(positions) + 1)
        uniforms_N1 = None
        if self._uniforms is not None:
            uniforms_N1 = self._uniforms[state[2], state[3]][:, None]
        ids_N1, logprobs_N1 = choose_tokens(logits_NV, uniforms_N1, self._requests.params)
        ids = ids_N1.flatten().tolist()
        self._scheduler.release(self._completions.record(sequences, ids))
        self._stats.decode_row_steps += len(sequences)
        return Step(sequences, ids, logprobs_N1.flatten())

    def _change_slots(self) -> None:
        changes = self._scheduler.settle()
        by_block: dict[int, tuple[PromptBlock, list[int], list[int]]] = {}
        for slot, sequence in changes.entering:
            block, row = self._read.pop(sequence)
            _, rows, slots = by_block.setdefault(id(block), (block, [], []))
            rows.append(row)
            slots.append(slot)
        for block, rows, slots in by_block.values():
            self.cache.enter(block, rows, slots)
        if changes.moving:
            to_slots, from_slots = zip(*changes.moving, strict=True)
            self.cache.move(to_slots, from_slots)
