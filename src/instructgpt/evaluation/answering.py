"""One model at a time answers every prompt under every condition, and its answers are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from instructgpt.config.evaluate import BestOfNEntry, EvaluateConfig
from instructgpt.data.records import Prompt
from instructgpt.data.spool import Spool
from instructgpt.distributed.world import World
from instructgpt.errors import EngineError
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
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.load import freeze, load_reward_model
from instructgpt.models.scalar_model import ScalarModel
from instructgpt.models.soft_prompt_files import load_answering_lm
from instructgpt.models.soft_prompts import SoftPrompts
from instructgpt.rollout.engine import Engine
from instructgpt.rollout.types import Rollout
from instructgpt.text.chat_template import ChatRenderer
from instructgpt.training.best_of_n import BestOfN, Candidates
from instructgpt.training.completion_scorer import CompletionScorer
from instructgpt.training.examples import task_of, tokenize_prompts
from instructgpt.training.language_modeling import document_rows, mean_nll
from instructgpt.training.rollouts import longest_prompt
from instructgpt.training.runner import PhaseClock
from instructgpt.training.sequence_kl import sequence_log_ratios

Unknown = Sequence[float | None]


@dataclass
class ModelRecord:
    """What is known of one model besides its answers.

    `kl` and `curve` are best-of-n's alone: its KL is a formula, and its candidates show every n.
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
        folder: Path,
    ) -> None:
        """Prompts that do not fit the reference's context are left out and counted.

        `folder` is for temporary files.
        """
        self.config = config
        self.gold = gold
        self.world = world
        self.folder = folder
        self.budget = config.hardware.tokens_per_microbatch
        self.reference = self._load(str(config.models[config.reference]))
        renderer = self.reference.renderer()
        longest = self._longest_prompt(self.reference)
        self.prompts, _ = tokenize_prompts(prompts, renderer, longest, folder)
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
                rows = document_rows(
                    self.config.documents_heldout, lm.tokenizer, self.config.row_tokens
                )
                waiting = Spool(rows, self.folder)
                loss = mean_nll(lm, waiting, max_tokens=self.budget, world=self.world)
                record.pretraining_loss = loss
        record.timing = clock.take()
        return record

    def _plain(self, name: str, lm: CausalLM, clock: PhaseClock) -> ModelRecord:
        temperature = self.config.sampling.temperature
        conditions = model_conditions(temperature)
        if name == self.config.reference:
            conditions += control_conditions(temperature, self.config.control_temperatures)
        renderer = lm.renderer()
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
            clock.tokens += _num_tokens(rollouts)
            with clock.phase("measure"):
                kls = self._kls(lm, rollouts, condition)
                answers += self._measure(renderer, rollouts, condition.name, kls)
        return ModelRecord(answers, "model")

    def _best_of_n(
        self, name: str, entry: BestOfNEntry, lm: CausalLM, clock: PhaseClock
    ) -> ModelRecord:
        """The reward model's choice among n samples; the candidates give the whole curve."""
        reward_model = self.reward_model
        if reward_model is None or entry.reward_model != self.config.reward_model:
            reward_model = self._load_reward_model(entry.reward_model)
            assert reward_model is not None
        sampler = BestOfN(lm, reward_model, entry.n, self.config.sampling.max_slots, self.budget)
        condition = Condition(SAMPLED, self.config.sampling.temperature)
        params = condition.params(self.config.sampling, name, self.config.seed)
        with clock.phase("generate"):
            prompt_ids = self._tokenize(name, lm, sampler.renderer)
            candidates = sampler(self.prompts, prompt_ids, params)
        clock.tokens += sum(_num_tokens(c.rollouts) for c in candidates)
        chosen = [c.rollouts[c.best] for c in candidates]
        with clock.phase("measure"):
            answers = self._measure(sampler.renderer, chosen, SAMPLED, [None] * len(chosen))
            curve = self._best_of_n_curve(sampler.renderer, candidates)
        return ModelRecord(answers, "best_of_n", kl=best_of_n_kl(entry.n), curve=curve)

    def _best_of_n_curve(
        self, renderer: ChatRenderer, candidates: Sequence[Candidates]
    ) -> dict[str, Any] | None:
        if self.gold is None:
            return None
        gold = [
            [self.gold.assess(prompt, renderer.decode(r.completion_ids)).score for r in c.rollouts]
            for prompt, c in zip(self.prompts, candidates, strict=True)
        ]
        return best_of_n_curve([c.scores for c in candidates], gold)

    def _generate(
        self, engine: Engine, prompt_ids: list[list[int]], name: str, condition: Condition
    ) -> list[Rollout]:
        """One completion per prompt; the prompts are shared out over ranks."""
        params = condition.params(self.config.sampling, name, self.config.seed)
        mine = self.world.share(range(len(prompt_ids)))
        found = engine.generate([prompt_ids[i] for i in mine], params, keys=mine)
        return self.world.gather_shares([group[0] for group in found])

    def _kls(self, lm: CausalLM, rollouts: Sequence[Rollout], condition: Condition) -> Unknown:
        """Measured on sampled answers, of models that read the reference's tokens."""
        if condition.name != SAMPLED or not _same_vocabulary(lm, self.reference):
            return [None] * len(rollouts)
        if lm is self.reference:
            return [0.0] * len(rollouts)
        return sequence_log_ratios(
            lm,
            self.reference,
            rollouts,
            condition.temperature,
            max_tokens=self.budget,
            world=self.world,
        )

    def _measure(
        self, renderer: ChatRenderer, rollouts: Sequence[Rollout], condition: str, kls: Unknown
    ) -> list[Answer]:
        rewards = self._scores(self.reward_model, renderer, rollouts)
        judged = self._scores(self.judge_reward_model, renderer, rollouts)
        answers = []
        for i, (prompt, rollout) in enumerate(zip(self.prompts, rollouts, strict=True)):
            text = renderer.decode(rollout.completion_ids)
            answers.append(
                Answer(
                    prompt=i,
                    condition=condition,
                    completion=text,
                    num_tokens=len(rollout.completion_ids),
                    ended=rollout.has_eos,
                    kl=kls[i],
                    reward=rewards[i],
                    judge_reward=judged[i],
                    gold=None if self.gold is None else self.gold.assess(prompt, text),
                )
            )
        return answers

    def _scores(
        self, reward_model: ScalarModel | None, renderer: ChatRenderer, rollouts: Sequence[Rollout]
    ) -> Unknown:
        if reward_model is None:
            return [None] * len(rollouts)
        scorer = CompletionScorer(reward_model, renderer, max_tokens=self.budget, world=self.world)
        return scorer(self.prompts, rollouts)

    def _tokenize(self, name: str, lm: CausalLM, renderer: ChatRenderer) -> list[list[int]]:
        """Every prompt for this model; one that does not fit would change what is compared."""
        rendered = [list(renderer.prompt_ids(p.messages, task_of(p))) for p in self.prompts]
        longest, limit = max(map(len, rendered)), self._longest_prompt(lm)
        if longest > limit:
            raise EngineError(
                f"model '{name}': a prompt has {longest} tokens, but its context leaves {limit}; "
                "lower sampling.max_new_tokens or leave long prompts out"
            )
        return rendered

    def _longest_prompt(self, lm: CausalLM) -> int:
        return longest_prompt(lm.context, self.config.sampling)

    def _load(self, source: str) -> CausalLM:
        hardware = self.config.hardware
        lm = load_answering_lm(
            source,
            device=hardware.device,
            dtype=hardware.dtype,
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


def _num_tokens(rollouts: Sequence[Rollout]) -> int:
    return sum(len(r.prompt_ids) + len(r.completion_ids) for r in rollouts)


def _same_vocabulary(a: CausalLM, b: CausalLM) -> bool:
    if a is b:
        return True
    soft = any(isinstance(lm.adapter, SoftPrompts) for lm in (a, b))  # the other lacks their tokens
    return not soft and a.tokenizer.get_vocab() == b.tokenizer.get_vocab()
