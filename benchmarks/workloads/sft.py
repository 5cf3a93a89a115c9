"""Our SFT on the workload of the benchmark; prints one JSON line.

Prompts of 8 to 64 random tokens, completions of 1 to 64, the loss on the completion.
"""

from __future__ import annotations

import argparse
import json
import random

import torch
from models import (
    EOS,
    FIRST_WORD,
    Stopwatch,
    Tokenizer,
    add_model_arguments,
    language_model,
    millions,
    peak_mib,
)

from instructgpt.config.sft import SFTConfig
from instructgpt.distributed.world import World
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.kernels import use_fast_kernels
from instructgpt.models.precision import choose_device, choose_dtype
from instructgpt.storage.token_store import TokenSequence
from instructgpt.training.sft import SFTTrainer


def main() -> None:
    """One epoch over --rows demonstrations."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_arguments(parser)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--tokens-per-microbatch", type=int, default=4096)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    device = choose_device()
    dtype, _ = choose_dtype(arguments.dtype, device)
    lm = CausalLM(language_model(arguments).to(device), Tokenizer(), dtype)
    use_fast_kernels(lm.model, dtype)
    rows = demonstrations(arguments.rows, arguments.vocab)
    trainer = SFTTrainer(
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
    useful = sum(len(ids) for ids, _ in rows)
    watch = Stopwatch()
    for step in range(trainer.total_steps):
        trainer.step(step)
    rates = watch.rates(tokens=useful)
    parameters = sum(p.numel() for p in lm.model.parameters())
    print(
        json.dumps(
            {
                **rates,
                "dtype": str(dtype),
                "tflops": 6 * parameters * rates["tokens_per_s"] / 1e12,
                "params_m": millions(lm.model),
                "peak_mib": peak_mib(),
            }
        )
    )


def demonstrations(count: int, vocab: int) -> list[TokenSequence]:
    rng = random.Random(0)
    rows = []
    for _ in range(count):
        prompt, completion = rng.randint(8, 64), rng.randint(1, 64)
        ids = [rng.randrange(FIRST_WORD, vocab) for _ in range(prompt + completion)]
        rows.append(([*ids, EOS], [False] * prompt + [True] * (completion + 1)))
    return rows


if __name__ == "__main__":
    main()
