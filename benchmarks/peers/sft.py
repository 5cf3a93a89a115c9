"""The peer's SFT: SFTTrainer of trl 1.16.0 on the same workload. Prints one JSON line."""

from __future__ import annotations

import argparse
import tempfile

from common import quiet  # isort: skip

import token_ids
from datasets import Dataset
from measure import Stopwatch, report, training_flops, utilisation
from models import add_model_arguments, begin, language_model, millions, word_tokenizer
from trl import SFTConfig, SFTTrainer


def main() -> None:
    """One epoch over --rows rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_arguments(parser)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--documents", type=int, help="tokens of a row")
    parser.add_argument("--batch", type=int, default=8, help="8 is the peer's default")
    parser.add_argument("--no-checkpointing", action="store_true")
    arguments = parser.parse_args()
    begin(arguments)
    rows = token_rows(arguments)
    model = language_model(arguments)
    with tempfile.TemporaryDirectory() as folder:
        settings = SFTConfig(
            **quiet(folder),
            per_device_train_batch_size=arguments.batch,
            num_train_epochs=1,
            max_length=arguments.context,
            gradient_checkpointing=not arguments.no_checkpointing,
            completion_only_loss=True,
        )
        trainer = SFTTrainer(
            model=model,
            args=settings,
            processing_class=word_tokenizer(arguments.vocab),
            train_dataset=Dataset.from_list(rows),
        )
        watch = Stopwatch()
        trainer.train()
        rates = watch.rates(tokens=sum(len(row["input_ids"]) for row in rows))
    sizes = [(len(row["input_ids"]), sum(row["completion_mask"])) for row in rows]
    report(
        **rates,
        **utilisation(training_flops(arguments, sizes), rates),
        bf16=settings.bf16,
        params_m=millions(model),
        work=token_ids.fingerprint(trainer.train_dataset["input_ids"]),
    )


def token_rows(arguments: argparse.Namespace) -> list[dict[str, list[int]]]:
    """Token ids and 1 where they are predicted, as the trainer takes them."""
    if arguments.documents:
        documents = token_ids.documents(arguments.rows, arguments.vocab, arguments.documents)
        masks = ([0] + [1] * (len(ids) - 1) for ids in documents)
        return [_row(ids, mask) for ids, mask in zip(documents, masks, strict=True)]
    return [
        _row([*prompt, *completion], [0] * len(prompt) + [1] * len(completion))
        for prompt, completion in token_ids.demonstrations(arguments.rows, arguments.vocab)
    ]


def _row(ids: list[int], mask: list[int]) -> dict[str, list[int]]:
    return {"input_ids": ids, "completion_mask": mask}


if __name__ == "__main__":
    main()
