"""Stage `ppo`: PPO and PPO-ptx (Ouyang et al. 2022, section 3.5, appendix C.4, eq. 2).

Shapes: B episodes of an iteration, T positions; conventions in DESIGN: position t describes token
t, one mask, losses divided by global counts. What differs from the textbook: one inner epoch by
default, advantages whitened over the whole batch, policy and critic stepped by their own
optimizers, gradients of PPO and of the pretraining term in the same buffers before one step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from instructgpt.config.ppo import PPOConfig
from instructgpt.config.shared import OptimConfig
from instructgpt.distributed.world import World
from instructgpt.losses.advantages import apply_missing_eos, gae, shape_rewards
from instructgpt.losses.kl import kl_k1, sequence_kl
from instructgpt.losses.masked import masked_mean, masked_whiten
from instructgpt.losses.ppo import clipped_policy_loss, clipped_value_loss, explained_variance
from instructgpt.models.batch import Passes
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.scalar_model import ScalarModel
from instructgpt.rollout.engine import Engine
from instructgpt.rollout.types import Rollout
from instructgpt.storage.token_store import TokenSequence
from instructgpt.training.batches import ShuffledStream
from instructgpt.training.experience import Experience
from instructgpt.training.kl_controller import KLController
from instructgpt.training.language_modeling import (
    count_targets,
    language_model_microbatches,
    mean_nll,
)
from instructgpt.training.optimizer import MovingAverage, Optimizer, lr_factor
from instructgpt.training.rollouts import sampling_params
from instructgpt.training.runner import PhaseClock
from instructgpt.training.update import Metrics, Microbatch, Update


class PPOTrainer:
    """One `step` is one iteration: sample, look, advantage, clipped updates."""

    def __init__(
        self,
        config: PPOConfig,
        *,
        policy: CausalLM,
        reference: CausalLM,
        critic: ScalarModel,
        engine: Engine,
        score: Callable[[Sequence[int], Sequence[Rollout]], list[float]],
        prompts: Sequence[list[int]],
        pretraining: Sequence[TokenSequence],
        heldout: Sequence[TokenSequence],
        sample_for_evaluation: Callable[[int, float], dict[str, float]] | None,
        world: World,
    ) -> None:
        """`score(prompt indices, rollouts)` is the reward model's verdict on finished episodes."""
        self.config = config
        self.policy = policy
        self.reference = reference
        self.critic = critic
        self.engine = engine
        self.score = score
        self.prompts = prompts
        self.pretraining = pretraining
        self.heldout = heldout
        self.sample_for_evaluation = sample_for_evaluation
        self.world = world
        self.clock = PhaseClock()
        self.kl = KLController(config.kl)
        self.total_steps = -(-config.episodes // config.batch_size)
        self.prompt_stream = ShuffledStream(len(prompts), config.seed, "prompts")
        self.policy_optimizer = Optimizer(policy.trained, config.optim)
        self.critic_optimizer = Optimizer(critic.trained, config.critic_optim)
        self.update_policy = Update(self.policy_optimizer, config.optim.max_grad_norm, world)
        self.update_critic = Update(self.critic_optimizer, config.critic_optim.max_grad_norm, world)
        self.average = MovingAverage(self.policy_optimizer.parameters, config.ema_decay)
        if config.ptx_coef > 0:
            self.ptx_stream = ShuffledStream(len(pretraining), config.seed + 1, "ptx rows")
            self.ptx_rows = max(1, round(config.ptx_ratio * config.minibatch_size))

    @property
    def arithmetic(self) -> str:
        """Where the number of iterations comes from, and what one of them does."""
        config = self.config
        mixed = f" and {self.ptx_rows} pretraining rows" if config.ptx_coef > 0 else ""
        return (
            f"{config.episodes} episodes, {config.batch_size} a step, from {len(self.prompts)} "
            f"prompts; {self._updates_per_step} updates a step, of {config.minibatch_size} "
            f"episodes{mixed}"
        )

    def step(self, step: int) -> dict[str, float]:
        """One PPO-ptx iteration."""
        # 1. Sample completions from the current policy.
        with self.clock.phase("rollout"):
            indices, rollouts = self._sample(step)
        batch = Experience.from_rollouts(rollouts, self.policy.pad_id, self.policy.device)
        # 2. Look at them once through every model, without gradients.
        with self.clock.phase("score"), torch.no_grad():
            raw_score_B = torch.tensor(self.score(indices, rollouts), device=self.policy.device)
            batch.score_B = apply_missing_eos(
                raw_score_B,
                batch.has_eos_B,
                self.config.missing_eos,
                self._missing_eos_value(),
            )
            self._look(batch)
        # 3. The score on the last token, minus beta times the KL on every token; then advantages.
        kl_BT = kl_k1(batch.old_logprobs_BT, batch.ref_logprobs_BT)
        self._set_advantages(batch, kl_BT)
        # 4. Clipped updates.
        with self.clock.phase("update"):
            stats = self._optimise(batch, step)
        # 5. Adapt beta. The engine reads the live weights: nothing to hand over.
        metrics = self._metrics(batch, kl_BT, float(raw_score_B.mean()))
        self.kl.update(metrics["kl"], num_episodes=batch.size)
        self.clock.tokens += int(batch.tokens.lengths_B.sum())
        return {**metrics, **stats}

    def _sample(self, step: int) -> tuple[list[int], list[Rollout]]:
        """This iteration's prompts and one completion each, the same on every rank.

        An episode's random numbers belong to its number in the whole run, so they do not depend
        on how episodes are shared out.
        """
        first = step * self.config.batch_size
        indices = self.prompt_stream.indices(first, self.config.batch_size)
        episodes = self.world.share(list(range(len(indices))))
        rollouts = self.engine.generate(
            [self.prompts[indices[e]] for e in episodes],
            sampling_params(self.config.sampling, self.config.seed),
            keys=[first + e for e in episodes],
        )
        return indices, self.world.gather_shares([r[0] for r in rollouts])

    def _look(self, batch: Experience) -> None:
        """Log-probs of policy and reference, and values, of every completion token."""
        self.policy.model.eval()
        self.critic.model.eval()
        temperature = self.config.sampling.temperature
        budget = self.config.hardware.tokens_per_microbatch
        for rows in self.world.share(batch.groups(range(batch.size), budget, self.policy.passes)):
            tokens = batch.tokens.select(rows)
            width = tokens.token_ids_BT.shape[1]
            logprobs_BT, entropy_BT = self.policy.logprobs_and_entropy(tokens, temperature)
            batch.old_logprobs_BT[rows, :width] = logprobs_BT
            batch.entropy_BT[rows, :width] = entropy_BT
            batch.ref_logprobs_BT[rows, :width] = self.reference.logprobs(tokens, temperature)
            batch.values_BT[rows, :width] = self.critic.values(tokens)
        # Each rank filled its own rows and left zeros elsewhere.
        self.world.sum_tensors(
            [batch.old_logprobs_BT, batch.entropy_BT, batch.ref_logprobs_BT, batch.values_BT]
        )

    def _missing_eos_value(self) -> float:
        value = self.config.missing_eos_value
        return -value if self.config.missing_eos == "fixed" else value

    def _set_advantages(self, batch: Experience, kl_BT: Tensor) -> None:
        cfg, mask_BT = self.config, batch.tokens.mask_BT
        rewards_BT = shape_rewards(batch.score_B, kl_BT, mask_BT, beta=self.kl.coef)
        if cfg.whiten_rewards:
            rewards_BT = masked_whiten(rewards_BT, mask_BT, shift_mean=False)
        advantages_BT, batch.returns_BT = gae(
            rewards_BT, batch.values_BT, mask_BT, cfg.gamma, cfg.lam
        )
        if cfg.whiten_advantages:
            advantages_BT = masked_whiten(advantages_BT, mask_BT)
        batch.advantages_BT = advantages_BT

    def _optimise(self, batch: Experience, step: int) -> dict[str, float]:
        """Policy and critic updates over all minibatches; means of their metrics."""
        cfg = self.config
        policy_factor = self._lr_factor(step, cfg.optim)
        critic_factor = self._lr_factor(step, cfg.critic_optim)
        history: list[dict[str, float]] = []
        for epoch in range(cfg.epochs):
            seed = (cfg.seed * 1_000_003 + step) * cfg.epochs + epoch
            for rows in batch.minibatches(cfg.minibatch_size, seed):
                update = step * self._updates_per_step + len(history)
                groups = {"policy": self._policy_microbatches(batch, rows)}
                if cfg.ptx_coef > 0:
                    groups["ptx"] = self._ptx_microbatches(update)
                first = not history
                policy = self.update_policy(groups, policy_factor, measure_groups=first)
                self.average.update()
                value = self.update_critic(
                    {"value": self._value_microbatches(batch, rows)}, critic_factor
                )
                value["critic_grad_norm"] = value.pop("grad_norm")
                history.append({**policy, **value})
        stats = _combine(history)
        stats["first_approx_kl"] = history[0]["approx_kl"]
        if cfg.ptx_coef > 0:
            ratio = history[0]["ptx_grad_norm"] / max(history[0]["policy_grad_norm"], 1e-12)
            stats["ptx_to_ppo_grad_norm"] = ratio
        return {**stats, "lr": cfg.optim.lr * policy_factor}

    @property
    def _updates_per_step(self) -> int:
        return self.config.epochs * self.config.batch_size // self.config.minibatch_size

    def _lr_factor(self, step: int, optim: OptimConfig) -> float:
        warmup = optim.model_copy(update={"warmup_steps": self.config.warmup_iterations})
        return lr_factor(step, self.total_steps, warmup)

    def _microbatches(
        self,
        loss: Callable[[Experience, list[int], int], tuple[Tensor, Metrics]],
        passes: Passes,
        batch: Experience,
        rows: list[int],
    ) -> list[Microbatch]:
        num_tokens = int(batch.tokens.mask_BT[rows].sum())
        groups = batch.groups(rows, self.config.hardware.tokens_per_microbatch, passes)
        return [partial(loss, batch, group, num_tokens) for group in groups]

    def _policy_microbatches(self, batch: Experience, rows: list[int]) -> list[Microbatch]:
        return self._microbatches(self._policy_loss, self.policy.passes, batch, rows)

    def _value_microbatches(self, batch: Experience, rows: list[int]) -> list[Microbatch]:
        return self._microbatches(self._value_loss, self.critic.passes, batch, rows)

    def _policy_loss(
        self, batch: Experience, rows: list[int], num_tokens: int
    ) -> tuple[Tensor, Metrics]:
        tokens = batch.tokens.select(rows)
        width = tokens.token_ids_BT.shape[1]
        logprobs_BT = self.policy.logprobs(tokens, self.config.sampling.temperature)
        return clipped_policy_loss(
            logprobs_BT,
            batch.old_logprobs_BT[rows, :width],
            batch.advantages_BT[rows, :width],
            tokens.mask_BT,
            self.config.clip,
            num_tokens,
        )

    def _value_loss(
        self, batch: Experience, rows: list[int], num_tokens: int
    ) -> tuple[Tensor, Metrics]:
        tokens = batch.tokens.select(rows)
        width = tokens.token_ids_BT.shape[1]
        return clipped_value_loss(
            self.critic.values(tokens),
            batch.values_BT[rows, :width],
            batch.returns_BT[rows, :width],
            tokens.mask_BT,
            self.config.value_clip,
            num_tokens,
        )

    def _ptx_microbatches(self, update: int) -> list[Microbatch]:
        """gamma times the pretraining loss on fresh rows (eq. 2, third term)."""
        picks = self.ptx_stream.indices(update * self.ptx_rows, self.ptx_rows)
        rows = [self.pretraining[i] for i in picks]
        return language_model_microbatches(
            self.policy,
            rows,
            max_tokens=self.config.hardware.tokens_per_microbatch,
            num_tokens=count_targets(rows),
            coef=self.config.ptx_coef,
            metric="ptx_nll",
        )

    def _metrics(self, batch: Experience, kl_BT: Tensor, score: float) -> dict[str, float]:
        mask_BT = batch.tokens.mask_BT
        kl = sequence_kl(batch.old_logprobs_BT, batch.ref_logprobs_BT, mask_BT, batch.size)
        gap_BT = (batch.rollout_logprobs_BT - batch.old_logprobs_BT).abs()
        return {
            "score": score,
            "kl": float(kl),
            "kl_coef": self.kl.coef,
            # what PPO maximises: the rule for missing EOS applied, the KL penalty paid
            "reward": float(batch.score_B.mean() - self.kl.coef * kl),
            "entropy": float(masked_mean(batch.entropy_BT, mask_BT)),
            "length": float(mask_BT.sum() / batch.size),
            "eos_rate": float(batch.has_eos_B.float().mean()),
            # the one number that exposes an engine bug
            "rollout_logprob_gap_max": float(gap_BT.masked_fill(~mask_BT, 0.0).max()),
            "explained_variance": float(
                explained_variance(batch.values_BT, batch.returns_BT, mask_BT)
            ),
        }

    def evaluate(self, step: int) -> dict[str, float]:
        """Held-out pretraining loss (the tax), and answers to the evaluation prompts.

        Of the averaged weights: they are what is exported (paper appendix C.4).
        """
        self.average.swap()
        try:
            return self._evaluate(step)
        finally:
            self.average.swap()

    def _evaluate(self, step: int) -> dict[str, float]:
        held_out: dict[str, float] = {}
        if self.heldout:
            budget = self.config.hardware.tokens_per_microbatch
            held_out["pretraining_loss"] = mean_nll(
                self.policy, self.heldout, max_tokens=budget, world=self.world
            )
        if self.sample_for_evaluation is not None:
            held_out |= self.sample_for_evaluation(step, self.kl.coef)
        return held_out

    def state_dict(self) -> dict[str, Any]:
        return {
            "policy": self.policy.state_dict(),
            "critic": self.critic.state_dict(),
            "policy_optimizer": self.policy_optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
            "average": self.average.state_dict(),
            "kl": self.kl.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.policy.load_state_dict(state["policy"])
        self.critic.load_state_dict(state["critic"])
        self.policy_optimizer.load_state_dict(state["policy_optimizer"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.average.load_state_dict(state["average"])
        self.kl.load_state_dict(state["kl"])


def _combine(history: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over the updates of an iteration; maxima for `*_max`; the first's group norms."""
    combined: dict[str, float] = {}
    for name in history[0]:
        values = [stats[name] for stats in history if name in stats]
        combined[name] = max(values) if name.endswith("_max") else sum(values) / len(values)
    return combined
