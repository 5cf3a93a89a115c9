"""The peer's DPO: DPOTrainer of trl 1.16.0 on all pairs. Prints one JSON line."""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Iterator, Sequence

from common import quiet  # isort: skip

import token_ids
from datasets import Dataset
from measure import Stopwatch, report
from models import add_model_arguments, begin, language_model, millions, word, word_tokenizer
from trl import DPOConfig, DPOTrainer


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
    model = language_model(arguments)
    with tempfile.TemporaryDirectory() as folder:
        settings = DPOConfig(
            **quiet(folder),
            per_device_train_batch_size=arguments.batch,
            num_train_epochs=1,
            max_length=arguments.context,
            gradient_checkpointing=not arguments.no_checkpointing,
        )
        trainer = DPOTrainer(
            model=model,
            ref_model=copy.deepcopy(model),  # it would look for one of this name on disk
            args=settings,
            processing_class=word_tokenizer(arguments.vocab),
            train_dataset=Dataset.from_list(text_pairs(arguments)),
        )
        watch = Stopwatch()
        trainer.train()
        rates = watch.rates(pairs=len(trainer.train_dataset))
    report(
        **rates,
        pairs=len(trainer.train_dataset),
        bf16=settings.bf16,
        params_m=millions(model),
        work=token_ids.pairs_fingerprint(token_pairs(trainer.train_dataset)),
    )


def text_pairs(arguments: argparse.Namespace) -> list[dict[str, str]]:
    """The trainer takes text only; its tokenizer gives back our ids."""
    rankings = token_ids.ranked_prompts(arguments.rankings, arguments.vocab, arguments.completions)
    return [
        {"prompt": _text(r.prompt), "chosen": f" {_text(better)}", "rejected": f" {_text(worse)}"}
        for r in rankings
        for better, worse in r.pairs()
    ]


def _text(ids: Sequence[int]) -> str:
    return " ".join(word(token) for token in ids)


def token_pairs(rows: Dataset) -> Iterator[tuple[list[int], list[int]]]:
    """What the trainer made of the text."""
    for row in rows:
        yield row["prompt_ids"] + row["chosen_ids"], row["prompt_ids"] + row["rejected_ids"]


if __name__ == "__main__":
    main()
