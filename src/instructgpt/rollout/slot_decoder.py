"""The fast way: continuous batching, every row at its own position of a shared cache.

Shapes: B prompts read together, T positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from instructgpt.rollout.completions import Completions
from instructgpt.rollout.cuda_graphs import recorder_for
from instructgpt.rollout.forward import ForwardPass
from instructgpt.rollout.kv_cache import PromptBlock
from instructgpt.rollout.recorded_step import Recorder
from instructgpt.rollout.requests import Requests
from instructgpt.rollout.scheduler import Scheduler
from instructgpt.rollout.slot_run import SlotRun
from instructgpt.rollout.slots import Slots
from instructgpt.rollout.steps import Step
from instructgpt.rollout.types import EngineStats

# Read at once: enough that the device is busy, few enough that prompts of one length come together
# (the rest is padding) and do not pile up in memory.
PREFILL_TOKENS = 2048
PREFILL_TOKENS_ON_CPU = 512


class SlotDecoder:
    """Generates through a `SlotCache` of at most `max_slots` rows.

    recording: repeat recorded steps where the device can; off for a model that this breaks.
    """

    def __init__(self, forward: ForwardPass, pad_id: int, max_slots: int) -> None:
        self.forward = forward
        self.recording = True
        self._pad_id = pad_id
        self._max_slots = max_slots
        self._idle_slots: Slots | None = None

    def steps(
        self, requests: Requests, completions: Completions, stats: EngineStats
    ) -> Iterator[Step]:
        """Run all requests; every step's tokens are recorded in `completions`, then yielded."""
        # Taken, not shared: two calls that are interleaved must not write the same slots.
        slots, self._idle_slots = self._idle_slots, None
        if slots is None or slots.device != self.forward.device:
            slots = self.new_slots()
        slots.cache.expect(requests.num_sequences)
        run = SlotRun(self, stats, slots)
        run.add(requests, completions)
        while not run.finished:
            for _job, step in run.step():
                yield step
        self._idle_slots = slots

    @property
    def new_recorder(self) -> Callable[[], Recorder] | None:
        """What makes recorders of steps; None where they are not recorded."""
        return recorder_for(self.forward.device) if self.recording else None

    def new_slots(self) -> Slots:
        return Slots(self.forward, self._max_slots, self.new_recorder)

    def new_scheduler(self) -> Scheduler:
        device = self.forward.device.type
        return Scheduler(
            self._max_slots, PREFILL_TOKENS_ON_CPU if device == "cpu" else PREFILL_TOKENS
        )

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
