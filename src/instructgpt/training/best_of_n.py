"""Stage `best_of_n`: the reward model picks one of n samples; no weights change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from instructgpt.config.best_of_n import BestOfNConfig
from instructgpt.data.jsonl import write_jsonl
from instructgpt.data.readers import load_prompts
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
        self, prompts: Sequence[Prompt], prompt_ids: Sequence[Sequence[int]], params: SamplingParams
    ) -> list[Candidates]:
        """All n candidates of every prompt."""
        rollouts = self.engine.generate(prompt_ids, params, n=self.n)
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
    records = load_prompts(config.prompts, limit=config.num_prompts).records
    longest = longest_prompt(lm.context, config.sampling)
    prompts, prompt_ids = tokenize_prompts(records, sampler.renderer, longest)
    candidates = sampler(prompts, prompt_ids, sampling_params(config.sampling, config.seed))
    rows = []
    for prompt, found in zip(prompts, candidates, strict=True):
        text = sampler.renderer.decode(found.rollouts[found.best].completion_ids)
        rows.append({**Demonstration(prompt, text).to_dict(), "score": found.scores[found.best]})
    write_jsonl(run.path("demonstrations.jsonl"), rows)
    everything = [score for found in candidates for score in found.scores]
    return {
        "prompts": len(rows),
        "n": config.n,
        "mean_score": sum(everything) / len(everything),
        "best_score": sum(row["score"] for row in rows) / len(rows),
    }
