"""Answers of one model to many prompts, as its users get them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from instructgpt.config.shared import HardwareConfig, SamplingConfig
from instructgpt.data.records import Prompt
from instructgpt.models.soft_prompt_files import load_answering_lm
from instructgpt.rollout.engine import Engine
from instructgpt.training.examples import task_of
from instructgpt.training.rollouts import longest_prompt, sampling_params


class Answerer:
    """A model that is asked. The same seed, key and prompt give the same answer."""

    def __init__(
        self, model: str | Path, sampling: SamplingConfig, hardware: HardwareConfig, seed: int
    ) -> None:
        self._lm = load_answering_lm(model, device=hardware.device, dtype=hardware.dtype)
        self._renderer = self._lm.renderer()
        self._sampling = sampling
        self._params = sampling_params(sampling, seed)
        self._engine = Engine(
            self._lm.model,
            self._renderer.stop_ids,
            self._lm.pad_id,
            sampling.max_slots,
            dtype=self._lm.dtype,
        )

    def __call__(self, prompts: Sequence[Prompt], keys: Sequence[int]) -> list[str | None]:
        """One answer each, None where a prompt does not fit; keys tell their draws apart."""
        longest = longest_prompt(self._lm.context, self._sampling)
        ids = [self._renderer.prompt_ids(p.messages, task_of(p)) for p in prompts]
        fit = [place for place, own in enumerate(ids) if len(own) <= longest]
        answers: list[str | None] = [None] * len(prompts)
        if fit:
            found = self._engine.generate(
                [ids[place] for place in fit], self._params, keys=[keys[place] for place in fit]
            )
            for place, (rollout,) in zip(fit, found, strict=True):
                answers[place] = self._renderer.decode(rollout.completion_ids)
        return answers
