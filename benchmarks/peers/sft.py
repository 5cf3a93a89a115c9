"""The peer's SFT: SFTTrainer of trl 1.16.0 on the same workload. Prints one JSON line."""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workloads"))

import torch
from datasets import Dataset
from models import (
    FIRST_WORD,
    Stopwatch,
    add_model_arguments,
    language_model,
    millions,
    peak_mib,
    word_tokenizer,
)
from trl import SFTConfig, SFTTrainer


def main() -> None:
    """One epoch over --rows demonstrations."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_arguments(parser)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=8, help="8 is the peer's default")
    parser.add_argument("--no-checkpointing", action="store_true")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    rng = random.Random(0)

    def words(count: int) -> str:
        return " ".join(f"t{rng.randrange(FIRST_WORD, arguments.vocab)}" for _ in range(count))

    rows, useful = [], 0
    for _ in range(arguments.rows):
        prompt, completion = rng.randint(8, 64), rng.randint(1, 64)
        rows.append({"prompt": words(prompt), "completion": " " + words(completion)})
        useful += prompt + completion + 1
    model = language_model(arguments)
    with tempfile.TemporaryDirectory() as folder:
        settings = SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=arguments.batch,
            num_train_epochs=1,
            max_length=256,
            gradient_checkpointing=not arguments.no_checkpointing,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_steps=10**6,
        )
        trainer = SFTTrainer(
            model=model,
            args=settings,
            processing_class=word_tokenizer(arguments.vocab),
            train_dataset=Dataset.from_list(rows),
        )
        watch = Stopwatch()
        trainer.train()
        rates = watch.rates(tokens=useful)
    print(
        json.dumps(
            {
                **rates,
                "bf16": settings.bf16,
                "params_m": millions(model),
                "peak_mib": peak_mib(),
            }
        )
    )


if __name__ == "__main__":
    main()
