"""Our reward model on rankings of K completions; prints one JSON line.

K forward passes for the C(K,2) comparisons of a prompt.
"""

from __future__ import annotations

import argparse

from measure import Stopwatch, report
from models import Tokenizer, add_model_arguments, begin, millions, scalar_model
from rankings import add_ranking_arguments, token_rankings, work

from instructgpt.config.reward_model import RewardModelConfig
from instructgpt.distributed.world import World
from instructgpt.models.kernels import use_fast_kernels
from instructgpt.models.precision import choose_device, choose_dtype
from instructgpt.models.scalar_model import ScalarModel
from instructgpt.training.reward_model import RewardModelTrainer


def main() -> None:
    """One epoch over --rankings rankings."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_arguments(parser)
    add_ranking_arguments(parser)
    arguments = parser.parse_args()
    begin(arguments)
    device = choose_device()
    dtype, _ = choose_dtype(arguments.dtype, device)
    reward_model = ScalarModel(scalar_model(arguments).to(device), Tokenizer(), dtype)
    use_fast_kernels(reward_model.model)
    rankings = token_rankings(arguments)
    trainer = RewardModelTrainer(
        RewardModelConfig(
            model="-",
            rankings="-",
            rankings_heldout="-",
            batch_size=arguments.batch,
            hardware={"tokens_per_microbatch": arguments.tokens_per_microbatch},
        ),
        reward_model,
        train=rankings,
        heldout=[],
        world=World(),
    )
    done = work(rankings)
    watch = Stopwatch()
    for step in range(trainer.total_steps):
        trainer.step(step)
    tokens = sum(len(ids) for ranking in rankings for ids, _ in ranking.sequences)
    report(
        **watch.rates(pairs=done["pairs"], tokens=tokens),
        **done,
        dtype=str(dtype),
        params_m=millions(reward_model.model),
    )


if __name__ == "__main__":
    main()
