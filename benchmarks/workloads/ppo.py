"""Our PPO on the workload of the benchmark; prints one JSON line.

Rollout, scoring and four epochs of updates; models are made before the clock starts.
"""

from __future__ import annotations

import argparse
import copy
import json

import torch
from models import (
    EOS,
    PAD,
    Stopwatch,
    Tokenizer,
    add_model_arguments,
    language_model,
    millions,
    peak_mib,
    random_prompts,
    scalar_model,
)

from instructgpt.config.ppo import PPOConfig
from instructgpt.distributed.world import World
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.kernels import use_fast_kernels
from instructgpt.models.load import freeze
from instructgpt.models.precision import choose_device, choose_dtype
from instructgpt.models.scalar_model import ScalarModel
from instructgpt.rollout.engine import Engine
from instructgpt.rollout.types import SamplingParams
from instructgpt.storage.token_store import TokenSequence
from instructgpt.training.ppo import PPOTrainer
from instructgpt.training.scoring import score_sequences


def main() -> None:
    """Train for --episodes episodes."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_arguments(parser)
    parser.add_argument("--episodes", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--response", type=int, default=48)
    parser.add_argument("--eos", type=float, default=0.0)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--tokens-per-microbatch", type=int, default=4096)
    arguments = parser.parse_args()
    trainer = make_trainer(arguments)
    trainer.engine.generate(
        [[5, 6, 7]], SamplingParams(max_new_tokens=1)
    )  # the check of what the model can take
    watch = Stopwatch()
    generated = 0
    for step in range(trainer.total_steps):
        generated += round(trainer.step(step)["length"] * arguments.batch)
    rates = watch.rates(episodes=arguments.episodes)
    print(
        json.dumps(
            {
                **rates,
                "phases": trainer.clock.seconds,
                "generated_tokens": generated,
                "dtype": str(trainer.policy.dtype),
                "params_m": millions(trainer.policy.model),
                "peak_mib": peak_mib(),
            }
        )
    )


def make_trainer(arguments: argparse.Namespace) -> PPOTrainer:
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    device = choose_device()
    dtype, _ = choose_dtype(arguments.dtype, device)
    policy = CausalLM(language_model(arguments, arguments.eos).to(device), Tokenizer(), dtype)
    reference = CausalLM(copy.deepcopy(policy.model), Tokenizer(), dtype)
    reward_model = ScalarModel(scalar_model(arguments).to(device), Tokenizer(), dtype)
    critic = ScalarModel(scalar_model(arguments).to(device), Tokenizer(), dtype)
    for one in (policy, reference, reward_model, critic):
        use_fast_kernels(one.model, dtype)
    freeze(reference.model)
    freeze(reward_model.model)
    config = PPOConfig(
        model="-",
        reward_model="-",
        prompts="-",
        episodes=arguments.episodes,
        batch_size=arguments.batch,
        minibatch_size=arguments.batch,
        epochs=4,
        missing_eos="none",
        sampling={"max_new_tokens": arguments.response},
        hardware={"tokens_per_microbatch": arguments.tokens_per_microbatch},
        optim={"lr": 1e-5},
        critic_optim={"lr": 1e-5},
    )
    prompts = random_prompts(max(arguments.episodes, 256), arguments.vocab)

    def score(indices: list[int], rollouts: list) -> list[float]:
        sequences: list[TokenSequence] = []
        for rollout in rollouts:
            ids = [*rollout.prompt_ids, *rollout.completion_ids]
            sequences.append((ids, [True] * len(ids)))
        return score_sequences(reward_model, sequences, max_tokens=arguments.tokens_per_microbatch)

    return PPOTrainer(
        config,
        policy=policy,
        reference=reference,
        critic=critic,
        engine=Engine(policy.model, [EOS], PAD, arguments.batch, dtype=dtype),
        score=score,
        prompts=prompts,
        pretraining=[],
        heldout=[],
        sample_for_evaluation=None,
        world=World(),
    )


if __name__ == "__main__":
    main()
