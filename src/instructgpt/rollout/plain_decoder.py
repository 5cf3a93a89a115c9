"""The obviously right way: one sequence at a time, the whole of it read again for every token.

No cache, no batch, no padding, and a sampler of its own, written down as the definitions are. The
faster ways are tested against it, and a model that none of them can run still gets its answers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch

from instructgpt.rollout.completions import Completions
from instructgpt.rollout.forward import ForwardPass
from instructgpt.rollout.requests import Requests
from instructgpt.rollout.sampling import request_uniforms
from instructgpt.rollout.steps import Step
from instructgpt.rollout.types import EngineStats, SamplingParams


class PlainDecoder:
    """Generates by full forward passes of single sequences."""

    def __init__(self, forward: ForwardPass) -> None:
        self._forward = forward

    def steps(
        self, requests: Requests, completions: Completions, stats: EngineStats
    ) -> Iterator[Step]:
        """Run all requests; every token is recorded in `completions`, then yielded."""
        for sequence in range(requests.num_sequences):
            prompt, sample = divmod(sequence, requests.n)
            ids = list(requests.prompts[prompt])
            stats.prompt_tokens += len(ids)
            uniforms = request_uniforms(
                requests.params.seed, requests.keys[prompt], sample, requests.room[prompt]
            )
            for uniform in uniforms:
                started = time.perf_counter()
                logits = self._forward.uncached_logits(ids).double().cpu().numpy()
                if requests.changes is not None:
                    for token, added in requests.changes.after(
                        completions.tokens[sequence]
                    ).items():
                        logits[token] += added
                token, logprob = choose_token(logits, float(uniform), requests.params)
                ids.append(token)
                stats.decode_seconds += time.perf_counter() - started
                stats.decode_row_steps += 1
                ended = completions.record([sequence], [token])
                yield Step([sequence], [token], torch.tensor([logprob], dtype=torch.float32))
                if ended:
                    break


def choose_token(logits: np.ndarray, uniform: float, params: SamplingParams) -> tuple[int, float]:
    """One token and its log-prob from `logits` [V]: the definition, in float64."""
    if params.greedy:
        token = int(np.argmax(logits))
        return token, float(np.log(_softmax(logits)[token]))
    logits = (logits - logits.max()) / params.temperature
    if 0 < params.top_k < len(logits):
        kth_best = np.sort(logits)[-params.top_k]
        logits = np.where(logits >= kth_best, logits, -np.inf)
    probs = _softmax(logits)
    if params.top_p < 1:
        kept = np.zeros_like(probs)
        for token in np.argsort(-probs, kind="stable"):
            if kept.sum() >= params.top_p:
                break
            kept[token] = probs[token]
        probs = kept / kept.sum()
    token = int(np.searchsorted(np.cumsum(probs), uniform * probs.sum(), side="right"))
    token = min(token, int(np.flatnonzero(probs)[-1]))  # the last sum may round below the total
    return token, float(np.log(probs[token]))


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()
