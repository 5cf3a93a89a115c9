"""The peer's PPO: PPOTrainer of trl 1.12.0, the last release that has it. Prints one JSON line."""

from __future__ import annotations

import argparse
import os
import tempfile

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

from common import quiet  # isort: skip

import token_ids
from datasets import Dataset
from measure import Stopwatch, report
from models import (
    add_model_arguments,
    begin,
    language_model,
    millions,
    scalar_model,
    word_tokenizer,
)
from peft import LoraConfig
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
    parser.add_argument("--lora", action="store_true", help="rank 16 instead of all weights")
    arguments = parser.parse_args()
    begin(arguments)
    policy = language_model(arguments, arguments.eos)
    reference = None
    if not arguments.lora:
        reference = language_model(arguments)
        reference.load_state_dict(policy.state_dict())
    rows = Dataset.from_dict({"input_ids": token_ids.prompts(arguments.episodes, arguments.vocab)})
    with tempfile.TemporaryDirectory() as folder:
        trainer = PPOTrainer(
            args=_config(arguments, folder),
            processing_class=word_tokenizer(arguments.vocab, "left"),
            model=policy,
            ref_model=reference,
            reward_model=scalar_model(arguments),
            value_model=scalar_model(arguments),
            train_dataset=rows,
            eval_dataset=rows.select(range(8)),
            peft_config=_lora() if arguments.lora else None,
        )
        watch = Stopwatch()
        trainer.train()
        rates = watch.rates(episodes=arguments.episodes)
    report(
        **rates,
        params_m=millions(policy),
        work=token_ids.fingerprint(trainer.train_dataset["input_ids"]),
    )


def _lora() -> LoraConfig:
    layers = ["c_attn", "c_proj", "c_fc"]
    return LoraConfig(r=16, lora_alpha=32, target_modules=layers, fan_in_fan_out=True)


def _config(arguments: argparse.Namespace, folder: str) -> PPOConfig:
    return PPOConfig(
        **quiet(folder),
        per_device_train_batch_size=min(arguments.micro, arguments.batch),
        gradient_accumulation_steps=max(1, arguments.batch // arguments.micro),
        total_episodes=arguments.episodes,
        num_ppo_epochs=4,
        num_mini_batches=1,
        response_length=arguments.response,
        local_rollout_forward_batch_size=64,
        stop_token="eos",
        temperature=1.0,
        learning_rate=1e-5,
        bf16=True,
        gradient_checkpointing=False,
        num_sample_generations=0,
    )


if __name__ == "__main__":
    main()
