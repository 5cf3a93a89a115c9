"""Sampling, tokens per second, against `generate` and continuous batching of transformers.

    python benchmarks/rollouts.py [--pairs 3] [--only K=8]

GPT-2 architecture, 4.3M parameters, float32, prompts of 8 to 64 tokens, up to 64 new tokens with a
4 % chance of an end at each, temperature 1; 64 and 512 requests, 1 and 8 samples of each.
"""

from __future__ import annotations

import argparse

from environments import OURS
from harness import Case, Side, add_arguments, run_cases
from sizes import TINY

AIMS = {("generate", 1): 3.0, ("generate", 8): 5.0, ("continuous", 1): 1.5, ("continuous", 8): 1.5}
PEERS = {"generate": "transformers generate", "continuous": "transformers continuous batching"}


def main() -> None:
    """Run all cases; both sides run in our environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    arguments = parser.parse_args()
    cases = []
    for requests in (64, 512):
        for (engine, samples), aim in AIMS.items():
            work = ["--requests", str(requests), "--samples", str(samples)]
            cases.append(
                Case(
                    f"{requests} requests, K={samples}, {engine}",
                    Side("instructgpt", OURS, "workloads/rollout.py", work),
                    Side(PEERS[engine], OURS, "workloads/rollout.py", [*work, "--engine", engine]),
                    {"tokens_per_s": aim},
                    [*TINY, "--requests", "8"],
                )
            )
    run_cases("rollouts", cases, arguments)


if __name__ == "__main__":
    main()
