"""Stage `reward_model`: one scalar from rankings of K completions (Ouyang et al. 2022, eq. 1)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from instructgpt.config.reward_model import RewardModelConfig
from instructgpt.data.readers import load_demonstrations
from instructgpt.distributed.world import World
from instructgpt.losses.reward_model import (
    ranking_accuracy,
    ranking_loss,
    ranking_pairs,
    reward_bias,
)
from instructgpt.models.batch import TokenBatch, token_budget_batches
from instructgpt.models.compiled import compile_models
from instructgpt.models.load import new_reward_model
from instructgpt.models.lora import attach_lora
from instructgpt.models.scalar_model import ScalarModel
from instructgpt.storage.run_dir import RunDir
from instructgpt.text.chat_template import ChatRenderer
from instructgpt.training.batches import ShuffledStream
from instructgpt.training.examples import TokenRanking, completion_sequence
from instructgpt.training.finish import finish_model
from instructgpt.training.memory import memory_parts, watched_memory
from instructgpt.training.optimizer import Optimizer, lr_factor
from instructgpt.training.ranking_accuracy import RankingAccuracy
from instructgpt.training.runner import PhaseClock, drive
from instructgpt.training.scoring import score_sequences
from instructgpt.training.token_data import TokenData, flat_sequences, largest_ranking
from instructgpt.training.update import Microbatch, Update


def run(config: RewardModelConfig, run: RunDir) -> dict[str, Any]:
    """Train, set the bias that makes demonstrations average 0, and export `model/`."""
    world = World.from_launcher()
    reward_model = new_reward_model(
        config.model,
        seed=config.seed,
        device=config.hardware.device,
        dtype=config.hardware.dtype,
        chat_template=config.chat_template,
    )
    if config.adapter.type == "lora":
        attach_lora(reward_model, config.adapter, base=config.model, seed=config.seed)
    renderer = ChatRenderer(reward_model.tokenizer)
    max_tokens = min(config.max_tokens or reward_model.context, reward_model.context)

    data = TokenData(run, world, reward_model.tokenizer)

    def rankings(name: str, path: str | None) -> Sequence[TokenRanking]:
        return data.rankings(name, path, renderer, max_tokens) if path else []

    trainer = RewardModelTrainer(
        config,
        reward_model,
        train=rankings("rankings", config.rankings),
        heldout=rankings("rankings_heldout", config.rankings_heldout),
        world=world,
    )
    models = {"reward_model": reward_model}
    parts = memory_parts(
        models,
        config.hardware.tokens_per_microbatch,
        items=config.batch_size,
        largest=largest_ranking(trainer.train),
    )
    compile_models(models, config.compile)
    with watched_memory(run, world, models, parts):
        drive(
            trainer,
            run,
            world,
            name="reward model",
            checkpoint_every=config.checkpoint_every,
            eval_every=config.eval_every,
        )
        summary: dict[str, Any] = {"heldout": trainer.accuracy(trainer.heldout).as_dict()}
        if config.rankings_other_labeler:
            other = rankings("rankings_other_labeler", config.rankings_other_labeler)
            summary["other_labeler"] = trainer.accuracy(other).as_dict()
        summary |= {"rankings": len(trainer.train), "reward_bias": 0.0}
        if config.demonstrations:
            summary |= _centre_on_demonstrations(config, reward_model, renderer, max_tokens, world)
        return finish_model(run, world, reward_model, summary)


def _centre_on_demonstrations(
    config: RewardModelConfig,
    reward_model: ScalarModel,
    renderer: ChatRenderer,
    max_tokens: int,
    world: World,
) -> dict[str, float]:
    """Set the bias so that demonstrations score 0 on average, without scaling (section 3.5)."""
    assert config.demonstrations is not None
    records = load_demonstrations(config.demonstrations, limit=config.demonstrations_limit).records
    sequences = [completion_sequence(renderer, d.prompt, d.completion) for d in records]
    sequences = [s for s in sequences if len(s[0]) <= max_tokens]
    budget = config.hardware.tokens_per_microbatch
    reward_model.bias = 0.0
    raw = score_sequences(reward_model, sequences, max_tokens=budget, world=world)
    reward_model.bias = float(reward_bias(torch.tensor(raw)))
    centred = score_sequences(reward_model, sequences, max_tokens=budget, world=world)
    return {
        "reward_bias": reward_model.bias,
        "demonstration_mean": sum(centred) / len(centred),
        "demonstrations_scored": len(centred),
    }


class RewardModelTrainer:
    """All C(K,2) comparisons of a prompt in one batch element, K forward passes."""

    def __init__(
        self,
        config: RewardModelConfig,
        reward_model: ScalarModel,
        *,
        train: Sequence[TokenRanking],
        heldout: Sequence[TokenRanking],
        world: World,
    ) -> None:
        self.config = config
        self.reward_model = reward_model
        self.train = train
        self.heldout = heldout
        self.world = world
        self.clock = PhaseClock()
        self.total_steps = max(1, -(-len(train) * config.epochs // config.batch_size))
        self.stream = ShuffledStream(len(train), config.seed, "rankings")
        self.optimizer = Optimizer(reward_model.trained, config.optim)
        self.update = Update(self.optimizer, config.optim.max_grad_norm, world)

    @property
    def arithmetic(self) -> str:
        """Where the number of steps comes from."""
        config = self.config
        return f"{len(self.train)} rankings x {config.epochs} epochs, {config.batch_size} a step"

    def step(self, step: int) -> dict[str, float]:
        """One optimizer step over `batch_size` prompts with all their comparisons."""
        start = step * self.config.batch_size
        size = min(self.config.batch_size, len(self.train) * self.config.epochs - start)
        chosen = [self.train[i] for i in self.stream.indices(start, size)]
        factor = lr_factor(step, self.total_steps, self.config.optim)
        self.reward_model.model.train()
        with self.clock.phase("update"):
            stats = self.update({"ranking": self._microbatches(chosen)}, factor)
        self.clock.tokens += sum(len(ids) for r in chosen for ids, _ in r.sequences)
        return {
            "loss": stats["ranking_loss"],
            "accuracy": stats["accuracy"],
            "grad_norm": stats["grad_norm"],
            "lr": self.config.optim.lr * factor,
        }

    def _microbatches(self, rankings: list[TokenRanking]) -> list[Microbatch]:
        pairs = ranking_pairs([r.ranks for r in rankings], self.config.normaliser)
        groups = token_budget_batches(
            [max(len(ids) for ids, _ in r.sequences) for r in rankings],
            self.config.hardware.tokens_per_microbatch,
            self.reward_model.passes,
            rows=[len(r.sequences) for r in rankings],
        )
        return [
            partial(
                self._loss, [rankings[i] for i in group], pairs.num_prompts, len(pairs.winner_P)
            )
            for group in groups
        ]

    def _loss(
        self, rankings: list[TokenRanking], num_prompts: int, num_pairs: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        sequences = [sequence for r in rankings for sequence in r.sequences]
        batch = TokenBatch.from_sequences(
            [ids for ids, _ in sequences],
            [mask for _, mask in sequences],
            self.reward_model.pad_id,
            self.reward_model.device,
        )
        scores_N = self.reward_model.scores(batch)
        pairs = ranking_pairs(
            [r.ranks for r in rankings], self.config.normaliser, self.reward_model.device
        )
        accuracy, _metrics = ranking_accuracy(scores_N, pairs, num_pairs)
        return ranking_loss(scores_N, pairs, num_prompts), {"accuracy": accuracy}

    def scores(self, rankings: Sequence[TokenRanking]) -> list[float]:
        """Scores of all completions of all rankings, flattened in order."""
        flat = flat_sequences(rankings)
        budget = self.config.hardware.tokens_per_microbatch
        return score_sequences(self.reward_model, flat, max_tokens=budget, world=self.world)

    def accuracy(self, rankings: Sequence[TokenRanking]) -> RankingAccuracy:
        """How often the reward model orders these rankings' pairs as the labelers did."""
        return RankingAccuracy.measure(rankings, self.scores(rankings))

    def evaluate(self, step: int) -> dict[str, float]:
        """The training loss, and accuracy, on rankings of prompts that are never trained on."""
        if not self.heldout:
            return {}
        scores = self.scores(self.heldout)
        pairs = ranking_pairs([r.ranks for r in self.heldout], self.config.normaliser)
        loss = ranking_loss(torch.tensor(scores), pairs, pairs.num_prompts)
        accuracy = RankingAccuracy.measure(self.heldout, scores).accuracy
        return {"heldout_loss": float(loss), "heldout_accuracy": accuracy}

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.reward_model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.reward_model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
