"""Stage `dpo`: direct preference optimisation (Rafailov et al. 2023) on K-way rankings."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from instructgpt.config.dpo import DPOConfig
from instructgpt.data.readers import load_rankings
from instructgpt.distributed.world import World
from instructgpt.losses.dpo import dpo_loss, ipo_loss
from instructgpt.losses.masked import masked_sum
from instructgpt.losses.reward_model import RankingPairs, ranking_pairs
from instructgpt.models.batch import TokenBatch, token_budget_batches
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.load import freeze, load_causal_lm
from instructgpt.storage.run_dir import RunDir
from instructgpt.text.chat_template import ChatRenderer
from instructgpt.training.batches import ShuffledStream
from instructgpt.training.examples import TokenRanking, tokenize_rankings
from instructgpt.training.finish import finish_model
from instructgpt.training.optimizer import Optimizer, lr_factor
from instructgpt.training.runner import PhaseClock, drive
from instructgpt.training.update import Metrics, Microbatch, Update, combine_metrics


def run(config: DPOConfig, run: RunDir) -> dict[str, Any]:
    """Train and export `model/`; returns the summary."""
    world = World.from_launcher()
    hardware = config.hardware

    def load() -> CausalLM:
        return load_causal_lm(
            config.model,
            device=hardware.device,
            dtype=hardware.dtype,
            chat_template=config.chat_template,
        )

    policy, reference = load(), load()
    freeze(reference.model)
    renderer = ChatRenderer(policy.tokenizer)
    max_tokens = min(config.max_tokens or policy.context, policy.context)

    def tokenize(path: str | None) -> list[TokenRanking]:
        return tokenize_rankings(load_rankings(path).records, renderer, max_tokens) if path else []

    trainer = DPOTrainer(
        config,
        policy=policy,
        reference=reference,
        train=tokenize(config.rankings),
        heldout=tokenize(config.rankings_heldout),
        world=world,
    )
    drive(
        trainer,
        run,
        world,
        name="dpo",
        checkpoint_every=config.checkpoint_every,
        eval_every=config.eval_every,
    )
    summary = {**trainer.last_heldout, "rankings": len(trainer.train)}
    return finish_model(run, world, policy.model, policy.tokenizer, summary)


class DPOTrainer:
    """All comparisons of a ranking in one batch element; a prompt counts once whatever its K."""

    def __init__(
        self,
        config: DPOConfig,
        *,
        policy: CausalLM,
        reference: CausalLM,
        train: list[TokenRanking],
        heldout: list[TokenRanking],
        world: World,
    ) -> None:
        self.config = config
        self.policy = policy
        self.reference = reference
        self.train = train
        self.heldout = heldout
        self.world = world
        self.clock = PhaseClock()
        self.last_heldout: dict[str, float] = {}
        self.total_steps = max(1, -(-len(train) * config.epochs // config.batch_size))
        self.stream = ShuffledStream(len(train), config.seed, "rankings")
        self.optimizer = Optimizer(policy.model, config.optim)
        self.update = Update(self.optimizer, config.optim.max_grad_norm, world)

    def step(self, step: int) -> dict[str, float]:
        """One optimizer step over `batch_size` rankings."""
        start = step * self.config.batch_size
        size = min(self.config.batch_size, len(self.train) * self.config.epochs - start)
        chosen = [self.train[i] for i in self.stream.indices(start, size)]
        factor = lr_factor(step, self.total_steps, self.config.optim)
        self.policy.model.train()
        with self.clock.phase("update"):
            stats = self.update({"dpo": self._microbatches(chosen)}, factor)
        self.clock.tokens += sum(len(ids) for r in chosen for ids, _ in r.sequences)
        stats["loss"] = stats.pop("dpo_loss")
        return {**stats, "lr": self.config.optim.lr * factor}

    def _microbatches(self, rankings: list[TokenRanking]) -> list[Microbatch]:
        groups = token_budget_batches(
            [max(len(ids) for ids, _ in r.sequences) for r in rankings],
            self.config.hardware.tokens_per_microbatch,
            rows=[len(r.sequences) for r in rankings],
        )
        return [
            partial(self._loss, [rankings[i] for i in group], len(rankings)) for group in groups
        ]

    def _loss(self, rankings: list[TokenRanking], num_prompts: int) -> tuple[Tensor, Metrics]:
        sequences = [sequence for r in rankings for sequence in r.sequences]
        batch = TokenBatch.from_sequences(
            [ids for ids, _ in sequences],
            [mask for _, mask in sequences],
            self.policy.pad_id,
            self.policy.device,
        )
        logprobs_N = masked_sum(self.policy.logprobs(batch), batch.mask_BT, dim=1)
        with torch.no_grad():
            ref_N = masked_sum(self.reference.logprobs(batch), batch.mask_BT, dim=1)
        pairs = ranking_pairs([r.ranks for r in rankings], device=self.policy.device)
        return self._pair_loss(logprobs_N, ref_N, pairs, num_prompts)

    def _pair_loss(
        self, logprobs_N: Tensor, ref_N: Tensor, pairs: RankingPairs, num_prompts: int
    ) -> tuple[Tensor, Metrics]:
        columns = (
            logprobs_N[pairs.winner_P],
            logprobs_N[pairs.loser_P],
            ref_N[pairs.winner_P],
            ref_N[pairs.loser_P],
        )
        if self.config.loss == "ipo":
            return ipo_loss(*columns, self.config.beta, num_prompts, weight_P=pairs.weight_P)
        return dpo_loss(
            *columns,
            self.config.beta,
            num_prompts,
            label_smoothing=self.config.label_smoothing,
            weight_P=pairs.weight_P,
        )

    @torch.no_grad()
    def evaluate(self, step: int) -> dict[str, float]:
        """Loss and implicit-reward accuracy on rankings of other prompts."""
        if not self.heldout:
            return {}
        self.policy.model.eval()
        totals: Metrics = {}
        for microbatch in self.world.share(self._microbatches(self.heldout)):
            loss, metrics = microbatch()
            for name, value in {"loss": loss, **metrics}.items():
                totals[name] = totals.get(name, torch.zeros(())) + value.cpu()
        combined = combine_metrics(totals, self.world)
        self.last_heldout = {f"heldout_{name}": value for name, value in combined.items()}
        return self.last_heldout

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.policy.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.policy.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
