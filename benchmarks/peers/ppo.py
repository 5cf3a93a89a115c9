"""The peer's PPO: PPOTrainer of trl 1.12.0, the last release that has it. Prints one JSON line.

Runs in an environment of its own, so it shares no code with us but workloads/models.py.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workloads"))

import torch
from datasets import Dataset
from models import (
    Stopwatch,
    add_model_arguments,
    language_model,
    millions,
    peak_mib,
    random_prompts,
    scalar_model,
    word_tokenizer,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer


def main() -> None:
    """Train for --episodes episodes."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_arguments(parser)
    parser.add_argument("--episodes", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--micro", type=int, default=16)
    parser.add_argument("--response", type=int, default=48)
    parser.add_argument("--eos", type=float, default=0.0)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    policy, reference = language_model(arguments, arguments.eos), language_model(arguments)
    reference.load_state_dict(policy.state_dict())
    prompts = random_prompts(max(arguments.episodes, 256), arguments.vocab)
    data = Dataset.from_dict({"input_ids": prompts})
    with tempfile.TemporaryDirectory() as folder:
        trainer = PPOTrainer(
            args=_config(arguments, folder),
            processing_class=word_tokenizer(arguments.vocab, "left"),
            model=policy,
            ref_model=reference,
            reward_model=scalar_model(arguments),
            value_model=scalar_model(arguments),
            train_dataset=data,
            eval_dataset=data.select(range(8)),
        )
        watch = Stopwatch()
        trainer.train()
        rates = watch.rates(episodes=arguments.episodes)
    print(
        json.dumps(
            {
                **rates,
                "params_m": millions(policy),
                "peak_mib": peak_mib(),
            }
        )
    )


def _config(arguments: argparse.Namespace, folder: str) -> PPOConfig:
    return PPOConfig(
        output_dir=folder,
        per_device_train_batch_size=arguments.micro,
        gradient_accumulation_steps=arguments.batch // arguments.micro,
        total_episodes=arguments.episodes,
        num_ppo_epochs=4,
        num_mini_batches=1,
        response_length=arguments.response,
        local_rollout_forward_batch_size=64,
        stop_token="eos",
        temperature=1.0,
        learning_rate=1e-5,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=False,
        num_sample_generations=0,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=10**6,
    )


if __name__ == "__main__":
    main()
