"""Jobs that share the slots: who is read next, who gets a token, who leaves.

Shapes: B prompts read together, N live rows, K samples per prompt, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from instructgpt.rollout.completions import Completions
from instructgpt.rollout.kv_cache import PromptBlock
from instructgpt.rollout.recorded_step import recorded_choice
from instructgpt.rollout.requests import Requests
from instructgpt.rollout.sampling import (
    changed_logits,
    choose_tokens,
    draw_uniforms,
    model_logprobs,
)
from instructgpt.rollout.slots import Slots
from instructgpt.rollout.steps import Step
from instructgpt.rollout.types import EngineStats, SamplingParams

if TYPE_CHECKING:
    from instructgpt.rollout.slot_decoder import SlotDecoder


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
        how = self._recorded_choice(live)
        if how is not None:
            uniforms = [0.0 if how.greedy else float(_next_uniform(*row)) for row in live]
            chosen_N = self._slots.choose(last, positions, uniforms, how)
        else:
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

    def _recorded_choice(self, live: list[tuple[Job, int]]) -> SamplingParams | None:
        """How the rows choose inside a recording; None where they do not."""
        requests = [job.requests for job in {job for job, _ in live}]
        if not self._slots.records or any(one.reads_logits for one in requests):
            return None
        return recorded_choice([one.params for one in requests])

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
        return torch.from_numpy(values).to(self._slots.device)

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
