"""Our SFT, or pretraining, on the workload of the benchmark; prints one JSON line.

Demonstrations with the loss on the completion; with --documents rows of that many tokens, each of
them predicted, as in pretraining.
"""

from __future__ import annotations

import argparse

import token_ids
from measure import Stopwatch, report, training_flops, utilisation
from models import Tokenizer, add_model_arguments, begin, language_model, millions

from instructgpt.config.sft import SFTConfig
from instructgpt.distributed.world import World
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.kernels import use_fast_kernels
from instructgpt.models.precision import choose_device, choose_dtype
from instructgpt.storage.token_store import TokenSequence
from instructgpt.training.sft import SFTTrainer


def main() -> None:
    """One epoch over --rows rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_arguments(parser)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--documents", type=int, help="tokens of a row")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--tokens-per-microbatch", type=int, default=4096)
    arguments = parser.parse_args()
    begin(arguments)
    device = choose_device()
    dtype, _ = choose_dtype(arguments.dtype, device)
    lm = CausalLM(language_model(arguments).to(device), Tokenizer(), dtype)
    use_fast_kernels(lm.model)
    rows = token_rows(arguments)
    trainer = make_trainer(arguments, lm, rows)
    watch = Stopwatch()
    for step in range(trainer.total_steps):
        trainer.step(step)
    rates = watch.rates(tokens=sum(len(ids) for ids, _ in rows))
    report(
        **rates,
        **utilisation(training_flops(arguments, [(len(i), sum(m)) for i, m in rows]), rates),
        dtype=str(dtype),
        params_m=millions(lm.model),
        work=token_ids.fingerprint(ids for ids, _ in rows),
    )


def token_rows(arguments: argparse.Namespace) -> list[TokenSequence]:
    """Token ids, and whether each of them is predicted."""
    if arguments.documents:
        documents = token_ids.documents(arguments.rows, arguments.vocab, arguments.documents)
        return [(ids, [False] + [True] * (len(ids) - 1)) for ids in documents]
    return [
        ([*prompt, *completion], [False] * len(prompt) + [True] * len(completion))
        for prompt, completion in token_ids.demonstrations(arguments.rows, arguments.vocab)
    ]


def make_trainer(
    arguments: argparse.Namespace, lm: CausalLM, rows: list[TokenSequence]
) -> SFTTrainer:
    """Nothing held out: training alone is measured."""
    return SFTTrainer(
        SFTConfig(
            model="-",
            demonstrations="-",
            epochs=1,
            batch_size=arguments.batch,
            hardware={"tokens_per_microbatch": arguments.tokens_per_microbatch},
        ),
        lm,
        train=rows,
        valid=[],
        pretraining=[],
        score=None,
        keep=lambda summary: None,
        world=World(),
    )


if __name__ == "__main__":
    main()
