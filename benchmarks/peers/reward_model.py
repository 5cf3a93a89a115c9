"""The peer's reward model: RewardTrainer of trl 1.16.0 on all pairs. Prints one JSON line."""

from __future__ import annotations

import argparse
import tempfile

from common import quiet  # isort: skip

import token_ids
from datasets import Dataset
from measure import Stopwatch, report
from models import add_model_arguments, begin, millions, scalar_model, word_tokenizer
from trl import RewardConfig, RewardTrainer


def main() -> None:
    """One epoch over the C(K,2) pairs of --rankings rankings."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_arguments(parser)
    parser.add_argument("--rankings", type=int, default=64)
    parser.add_argument("--completions", type=int, default=6)
    parser.add_argument("--batch", type=int, default=8, help="8 pairs are the peer's default")
    parser.add_argument("--no-checkpointing", action="store_true")
    arguments = parser.parse_args()
    begin(arguments)
    model = scalar_model(arguments)
    rankings = token_ids.ranked_prompts(arguments.rankings, arguments.vocab, arguments.completions)
    pairs = [
        {"chosen_ids": [*r.prompt, *better], "rejected_ids": [*r.prompt, *worse]}
        for r in rankings
        for better, worse in r.pairs()
    ]
    with tempfile.TemporaryDirectory() as folder:
        settings = RewardConfig(
            **quiet(folder),
            per_device_train_batch_size=arguments.batch,
            num_train_epochs=1,
            max_length=arguments.context,
            gradient_checkpointing=not arguments.no_checkpointing,
        )
        trainer = RewardTrainer(
            model=model,
            args=settings,
            processing_class=word_tokenizer(arguments.vocab),
            train_dataset=Dataset.from_list(pairs),
        )
        watch = Stopwatch()
        trainer.train()
        rates = watch.rates(pairs=len(pairs))
    rows = trainer.train_dataset
    trained = zip(rows["chosen_ids"], rows["rejected_ids"], strict=True)
    report(
        **rates,
        pairs=len(rows),
        bf16=settings.bf16,
        params_m=millions(model),
        work=token_ids.pairs_fingerprint(trained),
    )


if __name__ == "__main__":
    main()
