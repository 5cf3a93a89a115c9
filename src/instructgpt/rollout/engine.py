"""The engine: token ids in, completions with their log-probs out.

    engine = Engine(model, eos_ids=[2], pad_id=0)
    rollouts = engine.generate(prompts, SamplingParams(max_new_tokens=64), n=4)

It reads the model's live weights, so after an optimizer step it simply samples from the new policy.
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from instructgpt.errors import EngineError
from instructgpt.models.causal_lm import context_length
from instructgpt.models.products import PackedWeights
from instructgpt.rollout.compatibility import (
    attention_window,
    lockstep_obstacle,
    recording_obstacle,
    slot_obstacle,
)
from instructgpt.rollout.completions import Completions
from instructgpt.rollout.forward import ForwardPass
from instructgpt.rollout.lockstep_decoder import LockstepDecoder
from instructgpt.rollout.plain_decoder import PlainDecoder
from instructgpt.rollout.requests import Requests, check_requests
from instructgpt.rollout.slot_decoder import SlotDecoder
from instructgpt.rollout.steps import Decoder, Step
from instructgpt.rollout.types import EngineStats, LogitChanges, Rollout, SamplingParams

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


class BaseEngine(ABC):
    """Everything but the choice of how to run the model.

    eos_ids: any of these ends a completion; may be empty. max_context: a limit on prompt and
    completion together, at most the model's own, which is the default. dtype: compute in it under
    autocast; by default the model's own dtype. stats: the time table of the last call.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        eos_ids: Sequence[int],
        *,
        max_context: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        limit = context_length(model)
        if max_context is not None and not 1 < max_context <= limit:
            raise EngineError(
                f"max_context is {max_context}; this model allows 2 to {limit} positions"
            )
        self.model = model
        self.eos_ids = tuple(eos_ids)
        self.max_context = limit if max_context is None else max_context
        self.stats = EngineStats()
        self.forward = ForwardPass(model, dtype)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        params: SamplingParams,
        n: int = 1,
        keys: Sequence[int] | None = None,
        on_progress: Progress | None = None,
    ) -> list[list[Rollout]]:
        """`n` completions of every prompt, in the order of the prompts.

        keys: one integer per prompt (default: its index) that decides its randomness together with
        params.seed; the same key, prompt and seed give the same completions in any company and in
        any order, up to the rounding of the model itself. on_progress: called with (finished
        sequences, all sequences).

        Errors: EngineError, before any work, for a prompt that is empty, does not fit the context
        or holds unknown ids; EngineError when the model's logits are not finite.
        """
        requests = self.check(prompts, params, n, keys)
        completions = Completions(requests, self.eos_ids)
        self.stats = EngineStats()
        chosen: list[list[int]] = []
        logprobs: list[Tensor] = []
        finished = 0
        with self.forward.ready():
            for step in self._steps(requests, completions, self.stats):
                chosen.append(step.sequences)
                logprobs.append(step.logprobs)
                self.stats.generated_tokens += len(step.tokens)
                if on_progress is not None and completions.num_finished > finished:
                    finished = completions.num_finished
                    on_progress(finished, requests.num_sequences)
            by_sequence = _by_sequence(chosen, logprobs, requests.num_sequences)
        return _rollouts(requests, completions, by_sequence)

    def stream(
        self, prompt_ids: Sequence[int], params: SamplingParams, key: int = 0
    ) -> Iterator[tuple[int, float]]:
        """Yield (token id, log-prob) of one completion as it is produced, its EOS included.

        The tokens are those of ``generate([prompt_ids], params, keys=[key])``. Errors as there,
        raised at once. Several streams may be open at the same time.
        """
        requests = self.check([prompt_ids], params, 1, [key])
        return self._stream(requests)

    def _stream(self, requests: Requests) -> Iterator[tuple[int, float]]:
        stats = self.stats = EngineStats()
        steps = self._steps(requests, Completions(requests, self.eos_ids), stats)
        packed = PackedWeights()
        while True:
            # Entered anew for every token: whoever consumes the stream must not find itself in
            # inference mode between two of them.
            with self.forward.ready(packed):
                step = next(steps, None)
                if step is None:
                    return
                logprob = float(step.logprobs)
            stats.generated_tokens += 1
            check_finite(logprob, 0)
            yield step.tokens[0], logprob

    def check(
        self,
        prompts: Sequence[Sequence[int]],
        params: SamplingParams,
        n: int,
        keys: Sequence[int] | None,
        top: int | None = None,
        changes: LogitChanges | None = None,
    ) -> Requests:
        """The arguments of a call as `Requests`. Errors: EngineError as of `generate`."""
        return check_requests(
            prompts,
            params,
            n,
            keys,
            self.max_context,
            self.forward.vocab_size,
            top,
            changes,
            readable_ids=self.forward.readable_ids,
        )

    def _steps(
        self, requests: Requests, completions: Completions, stats: EngineStats
    ) -> Iterator[Step]:
        if requests.prompts:
            yield from self.decoder(requests.longest).steps(requests, completions, stats)

    @abstractmethod
    def decoder(self, longest: int) -> Decoder:
        """How to run sequences of up to `longest` tokens; called in the forward pass's context."""


class Engine(BaseEngine):
    """Generates the fastest way that the model can take.

    pad_id: fills up shorter prompts; never seen by the model's other positions. max_slots: the most
    sequences in flight; memory for keys and values grows with it and with the longest sequence.
    A model that cannot take the fast way is run a slower one, with one warning that says why. On a
    GPU `model` gets fused norms and PyTorch's own attention kernels, and cuDNN's attention is
    switched off for the process.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        eos_ids: Sequence[int],
        pad_id: int,
        max_slots: int = 64,
        max_context: int | None = None,
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(model, eos_ids, max_context=max_context, dtype=dtype)
        if max_slots < 1:
            raise EngineError(f"max_slots is {max_slots}; at least one sequence must fit")
        if not 0 <= pad_id < self.forward.vocab_size:
            raise EngineError(
                f"pad_id is {pad_id}, outside the vocabulary of {self.forward.vocab_size}"
            )
        self._slots = SlotDecoder(self.forward, pad_id, max_slots)
        self._lockstep = LockstepDecoder(self.forward, max_slots)
        self._plain = PlainDecoder(self.forward)
        self._obstacles: dict[str, str | None] = {}
        self._warned = False

    def warm_up(self) -> None:
        """Find out now how the model can be run, and warn now if that is a slower way."""
        with self.forward.ready():
            self.decoder(1)

    def decoder(self, longest: int) -> Decoder:
        window = attention_window(self.forward)
        if window is not None and longest > window:
            obstacle = f"sequences of {longest} tokens exceed its attention window of {window}"
        else:
            obstacle = self._known("slots", lambda: slot_obstacle(self._slots))
        if obstacle is None:
            self._decide_on_recording()
            return self._slots
        second = self._known("lockstep", lambda: lockstep_obstacle(self._lockstep, self.forward))
        if second is None:
            self._warn(f"in batches of prompts of equal length: {obstacle}")
            return self._lockstep
        self._warn(f"one full forward pass per token (very slow): {obstacle}; {second}")
        return self._plain

    def _decide_on_recording(self) -> None:
        if self._slots.new_recorder is None:
            return
        why = self._known("recording", lambda: recording_obstacle(self._slots))
        if why is not None:
            self._slots.recording = False
            self._warn(f"without CUDA graphs: {why}")

    def _known(self, way: str, find: Callable[[], str | None]) -> str | None:
        if way not in self._obstacles:
            self._obstacles[way] = find()
        return self._obstacles[way]

    def _warn(self, message: str) -> None:
        if not self._warned:
            logger.warning("%s generates the slower way, %s", type(self.model).__name__, message)
            self._warned = True


def _by_sequence(
    chosen: list[list[int]], logprobs: list[Tensor], num_sequences: int
) -> list[list[float]]:
    by_sequence: list[list[float]] = [[] for _ in range(num_sequences)]
    values = torch.cat(logprobs).tolist() if logprobs else []
    order = (sequence for sequences in chosen for sequence in sequences)
    for sequence, value in zip(order, values, strict=True):
        by_sequence[sequence].append(value)
    return by_sequence


def _rollouts(
    requests: Requests, completions: Completions, logprobs: list[list[float]]
) -> list[list[Rollout]]:
    rollouts: list[list[Rollout]] = [[] for _ in requests.prompts]
    for sequence, reason in enumerate(completions.finish_reasons):
        prompt = sequence // requests.n
        if reason is None:
            raise RuntimeError(f"sequence {sequence} was left unfinished")
        check_finite(sum(logprobs[sequence]), prompt)
        rollouts[prompt].append(
            Rollout(
                requests.prompts[prompt],
                completions.tokens[sequence],
                logprobs[sequence],
                reason,
            )
        )
    return rollouts


def check_finite(logprob: float, prompt: int) -> None:
    """Errors: EngineError for log-probs that are not numbers: nothing sampled from them counts."""
    if not math.isfinite(logprob):
        raise EngineError(
            f"the model's logits for prompt {prompt} are not finite: its weights are broken"
        )
