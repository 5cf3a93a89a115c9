"""The four models of PPO, on as few copies of the weights as their kinship allows (ADR 0011)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from instructgpt.config.ppo import PPOConfig
from instructgpt.models.adapter_files import adapter_beside, belongs_to, read_adapter
from instructgpt.models.adapters import Adapter
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.load import (
    copy_scalar_model,
    freeze,
    freeze_for_good,
    load_causal_lm,
    load_reward_model,
    new_reward_model,
    resolve_checkpoint,
    scalar_model_on,
)
from instructgpt.models.lora import attach_lora, without_adapter
from instructgpt.models.scalar_model import ScalarModel

logger = logging.getLogger(__name__)


class PPOModels(NamedTuple):
    """Who takes part in PPO; the critic starts as the reward model (paper section 3.5)."""

    policy: CausalLM
    reference: CausalLM
    reward_model: ScalarModel
    critic: ScalarModel


def load_ppo_models(config: PPOConfig) -> PPOModels:
    """Load them on this machine's device."""
    policy = _load_policy(config)
    if config.adapter.type == "none":
        reference = _load_policy(config)
        reward_model = _load_reward_model(config)
        critic = _critic(config, policy, reward_model)
        freeze_for_good(reference)
        freeze_for_good(reward_model)
        return PPOModels(policy, reference, reward_model, critic)
    attach_lora(policy, config.adapter, base=config.model, seed=config.seed, name="policy")
    reference = without_adapter(policy)
    kin = _adapter_on(config, policy) if config.share_trunk else None
    if kin is not None:
        return PPOModels(policy, reference, *_on_the_policys_trunk(config, policy, kin))
    reward_model = _load_reward_model(config)
    freeze(reward_model.model)
    critic = _critic(config, policy, reward_model, share=config.share_trunk)
    is_copy = critic.tokenizer is reward_model.tokenizer
    base = config.reward_model if is_copy else config.model
    attach_lora(critic, config.adapter, base=base, seed=config.seed, name="critic")
    if critic.model.base_model is reward_model.model.base_model:
        reward_model.adapter = Adapter(critic.adapter.trunk, None, {})
    return PPOModels(policy, reference, reward_model, critic)


def _load_policy(config: PPOConfig) -> CausalLM:
    hardware = config.hardware
    return load_causal_lm(config.model, device=hardware.device, dtype=hardware.dtype)


def _load_reward_model(config: PPOConfig) -> ScalarModel:
    hardware = config.hardware
    return load_reward_model(config.reward_model, device=hardware.device, dtype=hardware.dtype)


def _critic(
    config: PPOConfig, policy: CausalLM, reward_model: ScalarModel, *, share: bool = False
) -> ScalarModel:
    """A copy of the reward model (section 3.5), unless it could not read the policy's token ids."""
    if reward_model.tokenizer.get_vocab() == policy.tokenizer.get_vocab():
        return copy_scalar_model(reward_model, copy_backbone=not share)
    logger.warning(
        "the reward model has another vocabulary than the policy: scores are of decoded text, and "
        "the critic starts from the policy's backbone with a new head"
    )
    hardware = config.hardware
    return new_reward_model(
        config.model, seed=config.seed, device=hardware.device, dtype=hardware.dtype
    )


def _adapter_on(config: PPOConfig, policy: CausalLM) -> Path | None:
    """The reward model's adapter, if it was trained on the weights that the policy starts from."""
    folder = adapter_beside(resolve_checkpoint(config.reward_model))
    if folder is None:
        why = "it was not trained as an adapter"
    elif not belongs_to(folder, policy.adapter.trunk.module):
        why = "its adapter was trained on another model than the policy's"
    else:
        return folder
    logger.warning(
        "the reward model shares no weights with the policy (%s): it and the critic take a second "
        "copy of a model",
        why,
    )
    return None


def _on_the_policys_trunk(
    config: PPOConfig, policy: CausalLM, folder: Path
) -> tuple[ScalarModel, ScalarModel]:
    """Reward model and critic as two more adapters, both with the reward model's weights."""
    trunk = policy.adapter.trunk
    made = []
    for name, trained in (("reward_model", False), ("critic", True)):
        scalar = scalar_model_on(policy, config.reward_model)
        settings, state = read_adapter(folder, scalar.model)
        settings.lora_dropout = 0.0  # PPO needs deterministic models
        scalar.adapter = trunk.add(name, settings, config.seed, trained=trained)
        scalar.adapter.train_head(scalar.head)
        scalar.adapter.load_state_dict(state)
        scalar.head.requires_grad_(trained)
        made.append(scalar)
    return made[0], made[1]
