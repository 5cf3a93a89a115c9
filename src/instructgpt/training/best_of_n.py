"""Stage `best_of_n`: the reward model picks one of n samples; no weights change."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from instructgpt.config.best_of_n import BestOfNConfig
from instructgpt.data.jsonl import write_jsonl
from instructgpt.data.readers import stream_records
from instructgpt.data.records import Demonstration, Prompt
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.load import load_reward_model
from instructgpt.models.scalar_model import ScalarModel
from instructgpt.models.soft_prompt_files import load_answering_lm
from instructgpt.rollout.engine import Engine
from instructgpt.rollout.types import Rollout, SamplingParams
from instructgpt.storage.run_dir import RunDir
from instructgpt.training.completion_scorer import CompletionScorer
from instructgpt.training.examples import tokenize_prompts
from instructgpt.training.rollouts import longest_prompt, sampling_params

_AT_ONCE = 1024
"""Prompts whose samples are in memory together."""


class Candidates(NamedTuple):
    """The n samples of one prompt and their scores."""

    rollouts: list[Rollout]
    scores: list[float]

    @property
    def best(self) -> int:
        """Index of the highest score, the first of equals."""
        return max(range(len(self.scores)), key=lambda i: self.scores[i])


class BestOfN:
    """Samples n completions per prompt and scores them."""

    def __init__(
        self, lm: CausalLM, reward_model: ScalarModel, n: int, max_slots: int, max_tokens: int
    ) -> None:
        self.renderer = lm.renderer()
        self.engine = Engine(lm.model, self.renderer.stop_ids, lm.pad_id, max_slots, dtype=lm.dtype)
        self.scorer = CompletionScorer(reward_model, self.renderer, max_tokens=max_tokens)
        self.n = n

    def __call__(
        self,
        prompts: Sequence[Prompt],
        prompt_ids: Sequence[Sequence[int]],
        params: SamplingParams,
        keys: Sequence[int] | None = None,
    ) -> list[Candidates]:
        """All n candidates of every prompt; `keys` as the engine takes them."""
        rollouts = self.engine.generate(prompt_ids, params, n=self.n, keys=keys)
        repeated = [prompt for prompt in prompts for _ in range(self.n)]
        scores = self.scorer(repeated, [r for group in rollouts for r in group])
        return [
            Candidates(group, scores[i * self.n : (i + 1) * self.n])
            for i, group in enumerate(rollouts)
        ]


def run(config: BestOfNConfig, run: RunDir) -> dict[str, Any]:
    """Write the chosen completions as demonstrations, with their scores; returns the summary."""
    hardware = config.hardware
    lm = load_answering_lm(config.model, device=hardware.device, dtype=hardware.dtype)
    reward_model = load_reward_model(
        config.reward_model, device=hardware.device, dtype=hardware.dtype
    )
    sampler = BestOfN(
        lm, reward_model, config.n, config.sampling.max_slots, hardware.tokens_per_microbatch
    )
    prompts, prompt_ids = tokenize_prompts(
        stream_records(config.prompts, Prompt, config.num_prompts),
        sampler.renderer,
        longest_prompt(lm.context, config.sampling),
        folder=run.root,
    )
    params = sampling_params(config.sampling, config.seed)
    everything, best = array("d"), array("d")

    def rows() -> Iterator[dict[str, Any]]:
        for first in range(0, len(prompts), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            asked = prompts[part]
            keys = range(first, first + len(asked))
            found = sampler(asked, prompt_ids[part], params, keys)
            for prompt, one in zip(asked, found, strict=True):
                everything.extend(one.scores)
                best.append(one.scores[one.best])
                text = sampler.renderer.decode(one.rollouts[one.best].completion_ids)
                yield {**Demonstration(prompt, text).to_dict(), "score": best[-1]}

    count = write_jsonl(run.path("demonstrations.jsonl"), rows())
    return {
        "prompts": count,
        "n": config.n,
        "mean_score": sum(everything) / len(everything),
        "best_score": sum(best) / len(best),
    }
