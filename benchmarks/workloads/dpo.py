"""Our DPO on rankings of K completions; prints one JSON line.

The clock covers what the reference says of every completion, which is asked once.
"""

from __future__ import annotations

import argparse

from measure import Stopwatch, report
from models import Tokenizer, add_model_arguments, begin, language_model, millions
from rankings import add_ranking_arguments, token_rankings, work

from instructgpt.config.dpo import DPOConfig
from instructgpt.distributed.world import World
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.kernels import use_fast_kernels
from instructgpt.models.precision import choose_device, choose_dtype
from instructgpt.training.dpo import DPOTrainer


def main() -> None:
    """One epoch over --rankings rankings."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_arguments(parser)
    add_ranking_arguments(parser)
    arguments = parser.parse_args()
    begin(arguments)
    device = choose_device()
    dtype, _ = choose_dtype(arguments.dtype, device)
    policy = CausalLM(language_model(arguments).to(device), Tokenizer(), dtype)
    use_fast_kernels(policy.model)
    rankings = token_rankings(arguments)
    config = DPOConfig(
        model="-",
        rankings="-",
        batch_size=arguments.batch,
        hardware={"tokens_per_microbatch": arguments.tokens_per_microbatch},
    )
    done = work(rankings)
    watch = Stopwatch()
    trainer = DPOTrainer(config, policy=policy, train=rankings, heldout=[], world=World())
    for step in range(trainer.total_steps):
        trainer.step(step)
    tokens = sum(len(ids) for ranking in rankings for ids, _ in ranking.sequences)
    report(
        **watch.rates(pairs=done["pairs"], tokens=tokens),
        **done,
        dtype=str(dtype),
        params_m=millions(policy.model),
    )


if __name__ == "__main__":
    main()
