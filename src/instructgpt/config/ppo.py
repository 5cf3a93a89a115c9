"""Settings of stage `ppo`: PPO and PPO-ptx against a reward model (paper section 3.5, C.4, eq. 2).

Sources of defaults that the paper does not state: S = Stiennon et al. 2020, Z = Ziegler et al.
2019.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from instructgpt.config.adapter import AdapterConfig, check_adapter, refuse_soft_prompt
from instructgpt.config.base import Config
from instructgpt.config.shared import OptimConfig, SamplingConfig, TrainConfig


class KLConfig(Config):
    """The coefficient beta of the per-token KL penalty."""

    controller: Literal["fixed", "adaptive"] = "fixed"
    """fixed (paper), or adaptive towards a target (Z)."""
    coef: float = Field(default=0.02, ge=0)
    """beta, or its start when adaptive (paper: 0.02)."""
    target: float = Field(default=6.0, gt=0)
    """Adaptive only: wanted KL per sequence in nats (Z: 6)."""
    horizon: int = Field(default=10_000, gt=0)
    """Adaptive only: episodes over which beta reacts (Z: 10,000)."""


class PPOConfig(TrainConfig):
    """PPO with a learned critic; ptx_coef > 0 makes it PPO-ptx."""

    model: str
    """Policy to start from; a frozen copy is the KL reference."""
    reward_model: str
    """Reward model; the critic starts from a copy of it (paper 3.5)."""
    prompts: str
    """Training prompts."""
    documents: str | None = None
    """Pretraining documents for the ptx term; needed when ptx_coef > 0."""
    documents_heldout: str | None = None
    """Documents for the held-out pretraining loss at each evaluation."""
    prompts_eval: str | None = None
    """Prompts answered at each evaluation; the answers land in samples/, for gold scores later."""
    num_eval_prompts: int = Field(default=200, gt=0)
    """How many of them."""
    episodes: int = Field(default=256_000, gt=0)
    """Completions sampled in all (paper: 256k); rounded up to whole batches."""
    batch_size: int = Field(default=512, gt=0)
    """Episodes per iteration (paper: 512)."""
    minibatch_size: int = Field(default=64, gt=0)
    """Episodes per optimizer step (paper: 64)."""
    epochs: int = Field(default=1, gt=0)
    """Passes over each batch (paper: 1; S, Z: 4)."""
    max_prompt_tokens: int | None = Field(default=None, gt=0)
    """Longer prompts are dropped and counted (paper C: 1,000); default: what leaves room."""
    sampling: SamplingConfig = SamplingConfig()
    """Rollouts (paper: temperature 1)."""
    kl: KLConfig = KLConfig()
    """The KL penalty."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """Discount (paper: none)."""
    lam: float = Field(default=0.95, ge=0, le=1)
    """GAE lambda (S)."""
    clip: float = Field(default=0.2, gt=0)
    """Ratio clip (paper: 0.2)."""
    value_clip: float = Field(default=0.2, gt=0)
    """Value clip around the rollout's values (S, Z)."""
    whiten_advantages: bool = True
    """Advantages to mean 0, variance 1 over the batch's completion tokens (Z)."""
    whiten_rewards: bool = False
    """Rewards to variance 1, mean kept (Z: on)."""
    missing_eos: Literal["none", "fixed", "penalty"] = "penalty"
    """Completions without EOS: as scored, a fixed score (Z: -1), or the score minus a penalty."""
    missing_eos_value: float = 1.0
    """The fixed score is minus this; the penalty is this."""
    ema_decay: float = Field(default=0.992, ge=0, lt=1)
    """Decay, per optimizer step, of the average of policy weights (paper: 0.992); 0: no average."""
    ptx_coef: float = Field(default=0.0, ge=0)
    """gamma of eq. 2 on the mean pretraining loss per token; 0 is plain PPO (paper: 27.8)."""
    ptx_ratio: float = Field(default=8.0, gt=0)
    """Pretraining rows per episode (paper: 8 examples)."""
    ptx_row_tokens: int = Field(default=128, gt=1)
    """Most tokens of a pretraining row; use the one of pretraining."""
    adapter: AdapterConfig = AdapterConfig()
    """LoRA for policy and critic; the reference is then the policy with its adapter off."""
    share_trunk: bool = True
    """With an adapter: one copy of the frozen weights for all models that have the same base."""
    optim: OptimConfig = OptimConfig(lr=1.18e-5, schedule="constant")
    """Policy (paper figure 38, PPO-ptx 1.3B); its warmup is set by warmup_iterations."""
    critic_optim: OptimConfig = OptimConfig(lr=9e-6, schedule="constant")
    """Critic (paper C.4: 9e-6)."""
    warmup_iterations: int = Field(default=10, ge=0)
    """Iterations of linear warmup from a tenth of the peak (paper C.4: 10)."""

    @model_validator(mode="after")
    def _check(self) -> PPOConfig:
        if self.batch_size % self.minibatch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of minibatch_size "
                f"{self.minibatch_size}"
            )
        if self.ptx_coef > 0 and self.documents is None:
            raise ValueError("ptx_coef > 0 needs documents")
        if self.sampling.temperature == 0:
            raise ValueError("sampling.temperature 0 never explores; PPO needs > 0 (paper: 1)")
        if self.optim.warmup_steps or self.critic_optim.warmup_steps:
            raise ValueError("set warmup_iterations instead of warmup_steps for PPO")
        refuse_soft_prompt(self.adapter)
        check_adapter(self.adapter, self.optim, self.critic_optim, compile=self.compile)
        if self.adapter.dropout > 0:
            raise ValueError("adapter.dropout > 0: PPO needs a deterministic policy; set it to 0")
        if not self.share_trunk and self.adapter.type == "none":
            raise ValueError("share_trunk is for adapters; set adapter.type = lora, or leave it")
        return self
