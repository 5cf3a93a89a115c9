"""Our PPO on the workload of the benchmark; prints one JSON line.

Rollout, scoring and four epochs of updates; models are made before the clock starts.
"""

from __future__ import annotations

import argparse
import copy

import token_ids
from measure import Stopwatch, report
from models import Tokenizer, add_model_arguments, begin, language_model, millions, scalar_model
from token_ids import EOS, PAD

from instructgpt.config.adapter import AdapterConfig
from instructgpt.config.ppo import PPOConfig
from instructgpt.distributed.world import World
from instructgpt.models.adapters import Adapter, Trunk
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.kernels import use_fast_kernels
from instructgpt.models.load import copy_scalar_model, freeze, freeze_for_good
from instructgpt.models.lora import lora_config, without_adapter
from instructgpt.models.precision import choose_device, choose_dtype
from instructgpt.models.scalar_model import ScalarModel
from instructgpt.rollout.engine import Engine
from instructgpt.storage.token_store import TokenSequence
from instructgpt.training.ppo import PPOTrainer
from instructgpt.training.ppo_models import PPOModels
from instructgpt.training.scoring import score_sequences


def main() -> None:
    """Train for --episodes episodes."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_arguments(parser)
    parser.add_argument("--episodes", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--response", type=int, default=48)
    parser.add_argument("--eos", type=float, default=0.0)
    parser.add_argument("--lora", action="store_true", help="rank 16 instead of all weights")
    parser.add_argument("--average", action="store_true", help="of the policy, as in the paper")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--tokens-per-microbatch", type=int, default=4096)
    arguments = parser.parse_args()
    begin(arguments)
    models = make_models(arguments)
    trainer = make_trainer(arguments, models)
    trainer.engine.warm_up()  # the check of what the model can take
    watch = Stopwatch()
    generated = 0
    for step in range(trainer.total_steps):
        generated += round(trainer.step(step)["length"] * arguments.batch)
    report(
        **watch.rates(episodes=arguments.episodes),
        phases=trainer.clock.seconds,
        generated_tokens=generated,
        dtype=str(trainer.policy.dtype),
        params_m=millions(trainer.policy.model),
        work=token_ids.fingerprint(trainer.prompts),
    )


def make_models(arguments: argparse.Namespace) -> PPOModels:
    """As `load_ppo_models` makes them: with LoRA on two trunks, else four models."""
    device = choose_device()
    dtype, _ = choose_dtype(arguments.dtype, device)
    policy = CausalLM(language_model(arguments, arguments.eos).to(device), Tokenizer(), dtype)
    reward_model = ScalarModel(scalar_model(arguments).to(device), Tokenizer(), dtype)
    for model in (policy, reward_model):
        use_fast_kernels(model.model)
    if arguments.lora:
        return _with_lora(policy, reward_model)
    reference = CausalLM(copy.deepcopy(policy.model), Tokenizer(), dtype)
    critic = copy_scalar_model(reward_model, copy_backbone=True)
    freeze_for_good(reference)
    freeze_for_good(reward_model)
    return PPOModels(policy, reference, reward_model, critic)


def _with_lora(policy: CausalLM, reward_model: ScalarModel) -> PPOModels:
    freeze(reward_model.model)
    critic = copy_scalar_model(reward_model, copy_backbone=False)
    for name, model in (("policy", policy), ("critic", critic)):
        backbone = model.model.base_model
        model.model.requires_grad_(False)
        settings = lora_config(backbone, AdapterConfig(type="lora"))
        model.adapter = Trunk(backbone).add(name, settings, seed=0, trained=True)
        model.adapter.train_head(getattr(model, "head", None))
    reward_model.adapter = Adapter(critic.adapter.trunk, None, {})
    return PPOModels(policy, without_adapter(policy), reward_model, critic)


def make_trainer(arguments: argparse.Namespace, models: PPOModels) -> PPOTrainer:
    """With the paper's algorithm and the peer's numbers."""
    budget = arguments.tokens_per_microbatch
    config = PPOConfig(
        model="-",
        reward_model="-",
        prompts="-",
        episodes=arguments.episodes,
        batch_size=arguments.batch,
        minibatch_size=arguments.batch,
        epochs=4,
        missing_eos="none",
        ema_decay=0.992 if arguments.average else 0.0,
        sampling={"max_new_tokens": arguments.response},
        hardware={"tokens_per_microbatch": budget},
        optim={"lr": 1e-5},
        critic_optim={"lr": 1e-5},
    )

    def score(indices: list[int], rollouts: list) -> list[float]:
        sequences: list[TokenSequence] = []
        for rollout in rollouts:
            ids = [*rollout.prompt_ids, *rollout.completion_ids]
            sequences.append((ids, [True] * len(ids)))
        return score_sequences(models.reward_model, sequences, max_tokens=budget)

    policy = models.policy
    return PPOTrainer(
        config,
        policy=policy,
        reference=models.reference,
        critic=models.critic,
        engine=Engine(policy.model, [EOS], PAD, arguments.batch, dtype=policy.dtype),
        score=score,
        prompts=token_ids.prompts(arguments.episodes, arguments.vocab),
        pretraining=[],
        heldout=[],
        sample_for_evaluation=None,
        world=World(),
    )


if __name__ == "__main__":
    main()
