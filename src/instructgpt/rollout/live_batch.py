"""Requests that come and go while others run: what a server needs of the engine.

live = LiveBatch(engine)
request = live.add(prompt_ids, SamplingParams(max_new_tokens=64), n=2)
while not live.idle:
    for token in live.step():
        ...                               # token.request, token.sample, token.token_id
live.cancel(request)                      # at any time; frees its slots at once
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from instructgpt.models.products import PackedWeights
from instructgpt.rollout.completions import Completions
from instructgpt.rollout.engine import BaseEngine, check_finite
from instructgpt.rollout.forward import ForwardPass
from instructgpt.rollout.requests import Requests
from instructgpt.rollout.sampling import model_logprobs
from instructgpt.rollout.slot_decoder import SlotDecoder
from instructgpt.rollout.slot_run import Job, SlotRun
from instructgpt.rollout.steps import Step
from instructgpt.rollout.types import (
    EngineStats,
    FinishReason,
    LogitChanges,
    SamplingParams,
    TokenLogprob,
)


class NewToken(NamedTuple):
    """One token of one sample of one request.

    logprob: as in `Rollout`. model_logprob: there when the request asked for `top`. finish_reason:
    set with the last token of the sample.
    """

    request: int
    sample: int
    token_id: int
    logprob: float
    model_logprob: TokenLogprob | None
    finish_reason: FinishReason | None


class LiveBatch:
    """An open call of `engine`: requests are added, stepped together and cancelled.

    A request's tokens are those that `engine.generate` gives for the same prompt, settings and key,
    whoever else is there. Requests that the fast decoder cannot take are run beside the others, one
    token at a time each. One thread at a time. stats: the work since the batch was opened.
    """

    def __init__(self, engine: BaseEngine) -> None:
        self.stats = EngineStats()
        self._engine = engine
        self._jobs: dict[int, Job] = {}
        self._numbers: dict[Job, int] = {}
        self._run: SlotRun | None = None
        self._beside: dict[int, _Beside] = {}
        self._packed = PackedWeights()
        self._next = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do."""
        return not self._beside and not self._jobs

    def add(
        self,
        prompt_ids: Sequence[int],
        params: SamplingParams,
        *,
        n: int = 1,
        key: int = 0,
        top: int | None = None,
        changes: LogitChanges | None = None,
        ignore_eos: bool = False,
    ) -> int:
        """A new request's number; its first tokens come with one of the next steps.

        top: also report the model's own log-prob of every token, and of so many likely ones.
        Errors: EngineError as of `Engine.generate`, at once.
        """
        engine = self._engine
        requests = engine.check([prompt_ids], params, n, [key], top, changes)
        completions = Completions(requests, () if ignore_eos else engine.eos_ids)
        number, self._next = self._next, self._next + 1
        with engine.forward.ready(self._packed):
            decoder = engine.decoder(requests.longest)
        if isinstance(decoder, SlotDecoder):
            if self._run is None:
                self._run = SlotRun(decoder, self.stats, decoder.new_slots())
            job = self._jobs[number] = self._run.add(requests, completions)
            self._numbers[job] = number
        else:
            steps = decoder.steps(requests, completions, self.stats)
            self._beside[number] = _Beside(requests, completions, steps)
        return number

    def cancel(self, request: int, sample: int | None = None) -> None:
        """Give up a sample, or the whole request; nothing happens when it has ended."""
        if request in self._jobs and self._run is not None:
            job = self._jobs[request]
            for one in range(job.requests.n) if sample is None else [sample]:
                self._run.cancel(job, one)
            self._forget_if_over(request, job.completions, job.cancelled)
        elif request in self._beside:
            beside = self._beside[request]
            beside.cancelled.update(range(beside.requests.n) if sample is None else [sample])
            self._forget_if_over(request, beside.completions, beside.cancelled)

    def step(self) -> list[NewToken]:
        """The next tokens of some or all requests; none of a cancelled sample.

        Errors: EngineError when the model's logits are not finite.
        """
        tokens: list[NewToken] = []
        with self._engine.forward.ready(self._packed):
            if self._jobs and self._run is not None:
                for job, step in self._run.step():
                    request = self._numbers[job]
                    tokens += _new_tokens(request, step, job.completions, job.cancelled)
                    self._forget_if_over(request, job.completions, job.cancelled)
            for request, beside in list(self._beside.items()):
                step = beside.next_step(self._engine.forward)
                tokens += _new_tokens(request, step, beside.completions, beside.cancelled)
                self._forget_if_over(request, beside.completions, beside.cancelled)
        self.stats.generated_tokens += len(tokens)
        return tokens

    def _forget_if_over(self, request: int, completions: Completions, cancelled: set[int]) -> None:
        reasons = enumerate(completions.finish_reasons)
        if any(reason is None and sample not in cancelled for sample, reason in reasons):
            return
        self._beside.pop(request, None)
        job = self._jobs.pop(request, None)
        if job is not None:
            del self._numbers[job]


class _Beside:
    """A request that a slower decoder runs on its own."""

    def __init__(self, requests: Requests, completions: Completions, steps: Iterator[Step]) -> None:
        self.requests = requests
        self.completions = completions
        self.cancelled: set[int] = set()
        self._steps = steps

    def next_step(self, forward: ForwardPass) -> Step:
        step = next(self._steps)
        if self.requests.top is None:
            return step
        # The slower decoders keep no logits: read the text again.
        said = []
        for sequence, token in zip(step.sequences, step.tokens, strict=True):
            before = self.completions.tokens[sequence][:-1]
            logits_1V = forward.uncached_logits([*self.requests.prompts[0], *before])[None]
            said += model_logprobs(
                logits_1V, torch.tensor([[token]], device=forward.device), self.requests.top
            )
        return Step(step.sequences, step.tokens, step.logprobs, said)


def _new_tokens(
    request: int, step: Step, completions: Completions, cancelled: set[int]
) -> list[NewToken]:
    logprobs = step.logprobs.tolist()
    check_finite(sum(logprobs), 0)
    return [
        NewToken(
            request,
            sample,
            token,
            logprobs[row],
            None if step.model_logprobs is None else step.model_logprobs[row],
            completions.finish_reasons[sample],
        )
        for row, (sample, token) in enumerate(zip(step.sequences, step.tokens, strict=True))
        if sample not in cancelled
    ]
