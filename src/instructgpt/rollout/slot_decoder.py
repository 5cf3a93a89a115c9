"""The fast way: continuous batching, every row at its own position of a shared cache.

Shapes: B prompts read together, T positions, N live rows, K samples per prompt, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.cache_utils import DynamicCache

from instructgpt.rollout.completions import Completions
from instructgpt.rollout.cuda_graphs import recorder_for
from instructgpt.rollout.forward import ForwardPass
from instructgpt.rollout.kv_cache import PromptBlock, SlotCache
from instructgpt.rollout.recorded_step import (
    RecordedStep,
    Recorder,
    Size,
    recorded_choice,
    size_for,
)
from instructgpt.rollout.requests import Requests
from instructgpt.rollout.sampling import (
    changed_logits,
    choose_tokens,
    draw_uniforms,
    model_logprobs,
)
from instructgpt.rollout.scheduler import Scheduler
from instructgpt.rollout.steps import Step
from instructgpt.rollout.types import EngineStats

# Read at once: enough that the device is busy, few enough that prompts of one length come together
# (the rest is padding) and do not pile up in memory.
PREFILL_TOKENS = 2048
PREFILL_TOKENS_ON_CPU = 512

# oneDNN compiles a matrix product when it first sees its size, which takes as long as the product
# itself: on a CPU, batches have sizes in steps of so many rows.
_ROWS_STEP = 4


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

    def new_slots(self) -> Slots:
        new_recorder = recorder_for(self.forward.device) if self.recording else None
        return Slots(self, self._max_slots, new_recorder)

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

    def advance(self, cache: SlotCache, ids_N: Tensor, positions_N: Tensor, width: int) -> Tensor:
        """Logits NV after feeding row i the token `ids_N[i]` at `positions_N[i]` < `width`."""
        rows = len(ids_N)
        if ids_N.device.type == "cpu" and rows >= _ROWS_STEP:
            # what such a row writes lies in a slot that nobody holds
            spare = min(-rows % _ROWS_STEP, cache.max_slots - rows)
            ids_N, positions_N = (F.pad(x_N, (0, spare)) for x_N in (ids_N, positions_N))
        mask = cache.begin_step(positions_N, width)
        logits_NV = self.forward.last_logits(
            ids_N[:, None],
            attention_mask=mask,
            position_ids=positions_N[:, None],
            past_key_values=cache,
            use_cache=True,
        )
        return logits_NV[:rows]


class Slots:
    """A cache and the way to advance it: step by step, or by recordings of steps."""

    def __init__(
        self,
        decoder: SlotDecoder,
        max_slots: int,
        new_recorder: Callable[[], Recorder] | None,
    ) -> None:
        self.cache = SlotCache(max_slots)
        self.device = decoder.forward.device
        self._forward = decoder.forward
        self._advance = partial(decoder.advance, self.cache)
        self._recorded = None
        if new_recorder is not None:
            self._recorded = RecordedStep(self._advance, max_slots, self.device, new_recorder)
        self._model: Hashable = None

    def look_at_model(self) -> None:
        """Notice weights that lie elsewhere, and other adapters, since the last call."""
        if self._recorded is not None:
            self._model = self._forward.fingerprint()

    def advance(self, ids: list[int], positions: list[int]) -> Tensor:
        """Logits NV after feeding row i `ids[i]` at `positions[i]`, until the next call."""
        width = max(positions) + 1
        if self._recorded is None:
            fed = torch.tensor([ids, positions], device=self.device)
            return self._advance(fed[0], fed[1], width)
        return self._recorded.logits(ids, positions, self._make_size(len(ids), width))

    def choose(
        self, ids: list[int], positions: list[int], live: list[tuple[Job, int]]
    ) -> tuple[Tensor, Tensor] | None:
        """`advance`, then each row's next token and its log-prob, if that can be one recording."""
        if self._recorded is None:
            return None
        jobs = {job for job, _ in live}
        how = recorded_choice([job.requests.params for job in jobs])
        if how is None or any(job.requests.reads_logits for job in jobs):
            return None
        uniforms = [0.0] * len(ids) if how.greedy else [float(_next_uniform(*row)) for row in live]
        size = self._make_size(len(ids), max(positions) + 1)
        ids_N, logprobs_N = self._recorded.choose(ids, positions, uniforms, size, how)
        return ids_N, logprobs_N.clone()

    def _make_size(self, rows: int, width: int) -> Size:
        size = size_for(rows, width, self.cache.max_slots)
        self.cache.make_room(size.rows, size.width)
        self._recorded.keep_while((self._model, self.cache.moves))
        return size


@dataclass(eq=False, slots=True)
class Job:
    """The requests of one call inside a run, which may hold those of other calls.

    first_prompt, first_sequence: the numbers that the scheduler knows them by, counted from there.
    cancelled: sequences whose tokens nobody wants any more.
    """

    requests: Requests
    completions: Completions
    uniforms: np.ndarray | None
    first_prompt: int
    first_sequence: int
    cancelled: set[int] = field(default_factory=set)


class SlotRun:
    """Jobs that share the slots; they may be added and cancelled between steps.

    A sequence's tokens depend on its own request only, up to the rounding of the model.
    """

    def __init__(self, decoder: SlotDecoder, stats: EngineStats, slots: Slots) -> None:
        self._slots = slots
        self._decoder = decoder
        self._stats = stats
        self._device = decoder.forward.device
        self._scheduler = decoder.new_scheduler()
        self._prompts: dict[int, tuple[Job, int]] = {}
        self._sequences: dict[int, tuple[Job, int]] = {}
        self._read: dict[int, tuple[PromptBlock, int]] = {}  # sequence -> its prompt's block, row
        self._prompts_seen = self._sequences_seen = 0

    @property
    def finished(self) -> bool:
        return self._scheduler.finished

    def add(self, requests: Requests, completions: Completions) -> Job:
        """Let these requests wait for their turn."""
        self._slots.look_at_model()
        job = Job(
            requests,
            completions,
            draw_uniforms(requests),
            self._prompts_seen,
            self._sequences_seen,
        )
        prompts = range(job.first_prompt, job.first_prompt + len(requests.prompts))
        self._prompts_seen += len(prompts)
        self._sequences_seen += requests.num_sequences
        self._prompts.update((p, (job, p - job.first_prompt)) for p in prompts)
        self._sequences.update(
            (job.first_sequence + q, (job, q)) for q in range(requests.num_sequences)
        )
        self._scheduler.add(prompts, [len(prompt) for prompt in requests.prompts])
        return job

    def cancel(self, job: Job, sequence: int) -> None:
        """Free what the sequence holds; one that has ended is left alone."""
        number = job.first_sequence + sequence
        if self._sequences.pop(number, None) is None:
            return
        job.cancelled.add(sequence)
        self._read.pop(number, None)
        self._scheduler.forget_sequence(number)
        n, prompt = job.requests.n, sequence // job.requests.n
        if job.cancelled.issuperset(range(prompt * n, prompt * n + n)):
            self._prompts.pop(job.first_prompt + prompt, None)
            self._scheduler.forget_prompt(job.first_prompt + prompt)

    def step(self) -> list[tuple[Job, Step]]:
        """Read some prompts, or give every live sequence one more token."""
        prompts = self._scheduler.next_prompts()
        started = time.perf_counter()
        if prompts:
            steps = self._prefill(prompts)
            self._stats.prefill_seconds += time.perf_counter() - started
        else:
            steps = self._decode()
            self._stats.decode_seconds += time.perf_counter() - started
        return steps

    def _prefill(self, numbers: list[int]) -> list[tuple[Job, Step]]:
        """Read prompts once and choose the first token of all their samples."""
        prompts = [self._prompts.pop(number) for number in numbers]
        texts = [job.requests.prompts[p] for job, p in prompts]
        logits_BV, block = self._decoder.read_prompts(texts)
        self._stats.prompt_tokens += sum(map(len, texts))
        steps = []
        for job, rows in _by_job(prompts).items():
            logits_RV = logits_BV if len(rows) == len(prompts) else logits_BV[rows]
            step = self._first_tokens(job, [prompts[row][1] for row in rows], logits_RV)
            ended = set(job.completions.record(step.sequences, step.tokens))
            for i, sequence in enumerate(step.sequences):
                number = job.first_sequence + sequence
                if i in ended or sequence in job.cancelled:
                    self._sequences.pop(number, None)
                else:
                    self._read[number] = (block, rows[i // job.requests.n])
                    self._scheduler.make_ready([number])
            steps.append((job, step))
        return steps

    def _first_tokens(self, job: Job, prompts: list[int], logits_RV: Tensor) -> Step:
        """The first token of all samples of these prompts."""
        requests, n = job.requests, job.requests.n
        sequences = [p * n + k for p in prompts for k in range(n)]
        uniforms_RK = None
        if job.uniforms is not None:
            uniforms_RK = self._tensor(job.uniforms[sequences, 0].reshape(len(prompts), n))
        changed_RV = changed_logits(logits_RV, requests, [[]] * len(prompts))
        ids_RK, logprobs_RK = choose_tokens(changed_RV, uniforms_RK, requests.params)
        ids_RK, logprobs_RK = ids_RK.expand(-1, n), logprobs_RK.expand(-1, n)
        said = None
        if requests.top is not None:
            said = model_logprobs(logits_RV, ids_RK, requests.top)
        return Step(sequences, ids_RK.flatten().tolist(), logprobs_RK.flatten(), said)

    def _decode(self) -> list[tuple[Job, Step]]:
        """One more token for every live sequence."""
        self._change_slots()
        live = [self._sequences[number] for number in self._scheduler.live]
        tokens = [job.completions.tokens[q] for job, q in live]
        prompts = [job.requests.prompts[q // job.requests.n] for job, q in live]
        positions = [len(p) + len(t) - 1 for p, t in zip(prompts, tokens, strict=True)]
        last = [t[-1] for t in tokens]
        by_job = _by_job(live)
        logits_NV = None
        chosen_N = self._slots.choose(last, positions, live)
        if chosen_N is None:
            logits_NV = self._slots.advance(last, positions)
            chosen_N = self._choose(live, _changed(by_job, tokens, logits_NV))
        ids_N, logprobs_N = chosen_N
        ids = ids_N.tolist()
        steps = []
        for (job, rows), logprobs_R in zip(
            by_job.items(), _parted(logprobs_N, list(by_job.values())), strict=True
        ):
            sequences = [live[row][1] for row in rows]
            chosen = [ids[row] for row in rows]
            said = None
            if job.requests.top is not None:
                said = model_logprobs(logits_NV[rows], ids_N[rows, None], job.requests.top)
            for i in job.completions.record(sequences, chosen):
                del self._sequences[job.first_sequence + sequences[i]]
                self._scheduler.release([rows[i]])
            steps.append((job, Step(sequences, chosen, logprobs_R, said)))
        self._stats.decode_row_steps += len(live)
        return steps

    def _choose(self, live: list[tuple[Job, int]], logits_NV: Tensor) -> tuple[Tensor, Tensor]:
        """(ids_N, logprobs_N); rows of one kind are sampled together."""
        groups: dict[tuple[bool, int, float], list[int]] = {}
        for row, (job, _) in enumerate(live):
            groups.setdefault(job.requests.params.kind, []).append(row)
        chosen = []
        for rows in groups.values():
            logits_RV = logits_NV if len(groups) == 1 else logits_NV[rows]
            params = live[rows[0]][0].requests.params
            uniforms_R1, temperature_R1 = self._randomness([live[row] for row in rows])
            chosen.append(choose_tokens(logits_RV, uniforms_R1, params, temperature_R1))
        ids_N = torch.cat([ids_R1 for ids_R1, _ in chosen]).flatten()
        logprobs_N = torch.cat([logprobs_R1 for _, logprobs_R1 in chosen]).flatten()
        if len(groups) == 1:
            return ids_N, logprobs_N
        order = [row for rows in groups.values() for row in rows]
        back = sorted(range(len(order)), key=order.__getitem__)
        return ids_N[back], logprobs_N[back]

    def _randomness(self, rows: list[tuple[Job, int]]) -> tuple[Tensor | None, Tensor | None]:
        """(uniforms_R1, temperature_R1) of rows of one kind; None where the kind needs none."""
        temperatures = [job.requests.params.temperature for job, _ in rows]
        if temperatures[0] == 0:
            return None, None
        uniforms = [_next_uniform(*row) for row in rows]
        uniforms_R1 = self._tensor(np.array(uniforms, dtype=np.float32))[:, None]
        if len(set(temperatures)) == 1:
            return uniforms_R1, None
        return uniforms_R1, self._tensor(np.array(temperatures, dtype=np.float32))[:, None]

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self._device)

    def _change_slots(self) -> None:
        changes = self._scheduler.settle()
        by_block: dict[int, tuple[PromptBlock, list[int], list[int]]] = {}
        for slot, sequence in changes.entering:
            block, row = self._read.pop(sequence)
            _, rows, slots = by_block.setdefault(id(block), (block, [], []))
            rows.append(row)
            slots.append(slot)
        for block, rows, slots in by_block.values():
            self._slots.cache.enter(block, rows, slots)
        if changes.moving:
            to_slots, from_slots = zip(*changes.moving, strict=True)
            self._slots.cache.move(to_slots, from_slots)


def _by_job(owned: list[tuple[Job, int]]) -> dict[Job, list[int]]:
    """The rows of each job, in order."""
    rows: dict[Job, list[int]] = {}
    for row, (job, _) in enumerate(owned):
        rows.setdefault(job, []).append(row)
    return rows


def _parted(values_N: Tensor, parts: list[list[int]]) -> Sequence[Tensor]:
    """The values of the rows of each part: one selection for all, because servers have many."""
    if len(parts) == 1:
        return [values_N]
    order = [row for rows in parts for row in rows]
    return values_N[order].split([len(rows) for rows in parts])


def _changed(by_job: dict[Job, list[int]], written_N: list[list[int]], logits_NV: Tensor) -> Tensor:
    """The logits with the changes of those jobs that want any."""
    changing = {j: rows for j, rows in by_job.items() if j.requests.changes is not None}
    if not changing:
        return logits_NV
    logits_NV = logits_NV.float().clone()
    for job, rows in changing.items():
        written = [written_N[row] for row in rows]
        logits_NV[rows] = changed_logits(logits_NV[rows], job.requests, written)
    return logits_NV


def _next_uniform(job: Job, sequence: int) -> np.float32:
    assert job.uniforms is not None  # the caller has seen that its choice is not greedy
    return job.uniforms[sequence, len(job.completions.tokens[sequence])]
