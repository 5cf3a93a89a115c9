"""One model at a time answers every prompt under every condition, and its answers are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from instructgpt.config.evaluate import BestOfNEntry, EvaluateConfig
from instructgpt.data.records import Prompt
from instructgpt.distributed.world import World
from instructgpt.errors import ConfigError, EngineError
from instructgpt.evaluation.answers import Answer
from instructgpt.evaluation.best_of_n import best_of_n_kl
from instructgpt.evaluation.conditions import (
    SAMPLED,
    Condition,
    control_conditions,
    model_conditions,
)
from instructgpt.evaluation.curves import best_of_n_curve
from instructgpt.evaluation.gold import GoldJudge
from instructgpt.models.batch import TokenBatch, token_budget_batches
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.load import freeze, load_causal_lm, load_reward_model
from instructgpt.models.scalar_model import ScalarModel
from instructgpt.rollout.engine import Engine
from instructgpt.rollout.types import Rollout
from instructgpt.text.chat_template import ChatRenderer
from instructgpt.training.best_of_n import BestOfN
from instructgpt.training.completion_scorer import CompletionScorer
from instructgpt.training.examples import tokenize_prompts
from instructgpt.training.language_modeling import mean_nll, packed_rows
from instructgpt.training.runner import PhaseClock


@dataclass
class ModelRecord:
    """What is known of one model besides its answers.

    `kl` is set for best-of-n alone, whose KL is known in closed form; `curve` too.
    """

    answers: list[Answer]
    kind: str
    pretraining_loss: float | None = None
    kl: float | None = None
    curve: dict[str, Any] | None = None
    timing: dict[str, float] = field(default_factory=dict)


class Answering:
    """Holds what all models share: prompts, the reference, the reward models, the gold judge."""

    def __init__(
        self,
        config: EvaluateConfig,
        prompts: Sequence[Prompt],
        gold: GoldJudge | None,
        world: World,
    ) -> None:
        self.config = config
        self.gold = gold
        self.world = world
        self.budget = config.hardware.tokens_per_microbatch
        self.reference = self._load(str(config.models[config.reference]))
        renderer = ChatRenderer(self.reference.tokenizer)
        self.prompts, _ = tokenize_prompts(prompts, renderer, self._longest_prompt(self.reference))
        self.reward_model = self._load_reward_model(config.reward_model)
        self.judge_reward_model = self._load_reward_model(config.judge_reward_model)

    def __call__(self, name: str) -> ModelRecord:
        """All answers of model `name`, measured; deterministic given config and weights."""
        entry = self.config.models[name]
        clock = PhaseClock()
        if isinstance(entry, BestOfNEntry):
            lm = self._load(entry.model)
            record = self._best_of_n(name, entry, lm, clock)
        else:
            lm = self.reference if name == self.config.reference else self._load(entry)
            record = self._plain(name, lm, clock)
        if self.config.documents_heldout is not None:
            with clock.phase("pretraining_loss"):
                rows = packed_rows(self.config.documents_heldout, lm, self.config.row_tokens)
                record.pretraining_loss = mean_nll(
                    lm, rows, max_tokens=self.budget, world=self.world
                )
        record.timing = clock.take()
        return record

    def _plain(self, name: str, lm: CausalLM, clock: PhaseClock) -> ModelRecord:
        temperature = self.config.sampling.temperature
        conditions = model_conditions(temperature)
        if name == self.config.reference:
            conditions += control_conditions(temperature, self.config.control_temperatures)
        renderer = ChatRenderer(lm.tokenizer)
        prompt_ids = self._tokenize(name, lm, renderer)
        engine = Engine(
            lm.model,
            renderer.stop_ids,
            lm.pad_id,
            max_slots=self.config.sampling.max_slots,
            dtype=lm.dtype,
        )
        answers = []
        for condition in conditions:
            with clock.phase("generate"):
                rollouts = self._generate(engine, prompt_ids, name, condition)
            clock.tokens += sum(len(r.prompt_ids) + len(r.completion_ids) for r in rollouts)
            with clock.phase("measure"):
                kls: Sequence[float | None] = [None] * len(rollouts)
                if condition.name == SAMPLED and _same_vocabulary(lm, self.reference):
                    kls = self._sequence_kls(lm, rollouts, condition.temperature)
                answers += self._measure(renderer, rollouts, condition.name, kls)
        return ModelRecord(answers, "model")

    def _best_of_n(
        self, name: str, entry: BestOfNEntry, lm: CausalLM, clock: PhaseClock
    ) -> ModelRecord:
        """The reward model's choice among n samples; the candidates give the whole curve."""
        reward_model = (
            self.reward_model
            if entry.reward_model == self.config.reward_model and self.reward_model is not None
            else self._load_reward_model(entry.reward_model)
        )
        assert reward_model is not None
        max_slots = self.config.sampling.max_slots
        sampler = BestOfN(lm, reward_model, entry.n, max_slots, self.budget)
        condition = Condition(SAMPLED, self.config.sampling.temperature)
        with clock.phase("generate"):
            candidates = sampler(
                self.prompts,
                self._tokenize(name, lm, sampler.renderer),
                condition.params(self.config.sampling, name, self.config.seed),
            )
        rollouts = [c.rollouts[c.best] for c in candidates]
        clock.tokens += sum(
            len(r.prompt_ids) + len(r.completion_ids) for c in candidates for r in c.rollouts
        )
        with clock.phase("measure"):
            answers = self._measure(sampler.renderer, rollouts, SAMPLED, [None] * len(rollouts))
            curve = None
            if self.gold is not None:
                texts = [[sampler.renderer.decode(r.completion_ids) for r in c.rollouts] for c in candidates]
                golds = [
                    [self.gold.assess(prompt, text).score for text in group]
                    for prompt, group in zip(self.prompts, texts, strict=True)
                ]
                curve = best_of_n_curve([c.scores for c in candidates], golds)
        return ModelRecord(answers, "best_of_n", kl=best_of_n_kl(entry.n), curve=curve)

    def _generate(
        self, engine: Engine, prompt_ids: list[list[int]], name: str, condition: Condition
    ) -> list[Rollout]:
        """One completion per prompt; the prompts are shared out over ranks."""
        params = condition.params(self.config.sampling, name, self.config.seed)
        mine = self.world.share(range(len(prompt_ids)))
        found = engine.generate([prompt_ids[i] for i in mine], params, keys=mine)
        return self.world.gather_shares([group[0] for group in found])

    def _measure(
        self,
        renderer: ChatRenderer,
        rollouts: Sequence[Rollout],
        condition: str,
        kls: Sequence[float | None],
    ) -> list[Answer]:
        rewards = self._scores(self.reward_model, renderer, rollouts)
        judged = self._scores(self.judge_reward_model, renderer, rollouts)
        answers = []
        for i, (prompt, rollout) in enumerate(zip(self.prompts, rollouts, strict=True)):
            text = renderer.decode(rollout.completion_ids)
            gold = None if self.gold is None else self.gold.assess(prompt, text)
            answers.append(
                Answer(
                    i,
                    condition,
                    text,
                    len(rollout.completion_ids),
                    rollout.has_eos,
                    kls[i],
                    rewards[i],
                    judged[i],
                    gold,
                )
            )
        return answers

    def _scores(
        self, reward_model: ScalarModel | None, renderer: ChatRenderer, rollouts: Sequence[Rollout]
    ) -> Sequence[float | None]:
        if reward_model is None:
            return [None] * len(rollouts)
        scorer = CompletionScorer(
            reward_model, renderer, max_tokens=self.budget, world=self.world
        )
        return scorer(self.prompts, rollouts)

    @torch.no_grad()
    def _sequence_kls(
        self, lm: CausalLM, rollouts: Sequence[Rollout], temperature: float
    ) -> list[float]:
        """Per completion, the sum over its tokens of log pi - log pi_reference."""
        if lm is self.reference:
            return [0.0] * len(rollouts)
        lm.model.eval()
        lengths = [len(r.prompt_ids) + len(r.completion_ids) for r in rollouts]
        groups = token_budget_batches(lengths, self.budget)
        shares = []
        for group in self.world.share(groups):
            batch = TokenBatch.from_completions(
                [rollouts[i].prompt_ids for i in group],
                [rollouts[i].completion_ids for i in group],
                lm.pad_id,
                lm.device,
            )
            policy_BT = lm.logprobs(batch, temperature)
            shares.append((policy_BT - self.reference.logprobs(batch, temperature)).sum(1).tolist())
        kls = [0.0] * len(rollouts)
        for group, values in zip(groups, self.world.gather_shares(shares), strict=True):
            for index, value in zip(group, values, strict=True):
                kls[index] = value
        return kls

    def _tokenize(self, name: str, lm: CausalLM, renderer: ChatRenderer) -> list[list[int]]:
        """Every prompt for this model; one that does not fit would change what is compared."""
        rendered = [list(renderer.prompt_ids(p.messages)) for p in self.prompts]
        longest, limit = max(map(len, rendered)), self._longest_prompt(lm)
        if longest > limit:
            raise EngineError(
                f"model '{name}': a prompt has {longest} tokens, but its context leaves {limit}; "
                "lower sampling.max_new_tokens or leave long prompts out"
            )
        return rendered

    def _longest_prompt(self, lm: CausalLM) -> int:
        limit = lm.context - self.config.sampling.max_new_tokens
        if limit < 1:
            raise ConfigError(
                f"sampling.max_new_tokens {self.config.sampling.max_new_tokens} leaves no room for "
                f"a prompt in a context of {lm.context}"
            )
        return limit

    def _load(self, source: str) -> CausalLM:
        lm = load_causal_lm(
            source,
            device=self.config.hardware.device,
            dtype=self.config.hardware.dtype,
            chat_template=self.config.chat_template,
        )
        freeze(lm.model)
        return lm

    def _load_reward_model(self, source: str | None) -> ScalarModel | None:
        if source is None:
            return None
        hardware = self.config.hardware
        reward_model = load_reward_model(source, device=hardware.device, dtype=hardware.dtype)
        freeze(reward_model.model)
        return reward_model


def _same_vocabulary(a: CausalLM, b: CausalLM) -> bool:
    return a is b or a.tokenizer.get_vocab() == b.tokenizer.get_vocab()
