"""Reward model and DPO, pairs per second at K = 6, against TRL's trainers on the same pairs.

    python benchmarks/preferences.py [--pairs 3] [--only best]

GPT-2 architecture, 4.3M parameters, random weights; 32 prompts of 8 to 64 tokens with 6 completions
of 1 to 64 each: 480 pairs. We read every completion once, the peer both sides of every pair.
"defaults" are the peer's; "best" is without activation checkpointing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from environments import OURS, peer_python
from harness import Case, Side, add_arguments, run_cases
from sizes import SHAPES, TINY

WORK = [*SHAPES["4.3M"], "--rankings", "32", "--completions", "6"]
SETTINGS = {"defaults": [], "best": ["--no-checkpointing"]}


def main() -> None:
    """Run both cases of both stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    arguments = parser.parse_args()
    peer = peer_python("trl-1.16")
    for stage in ("reward_model", "dpo"):
        run_cases(stage, _cases(stage, peer), arguments)


def _cases(stage: str, peer: Path) -> list[Case]:
    return [
        Case(
            f"4.3M, K=6, {name}",
            Side("instructgpt", OURS, f"workloads/{stage}.py", WORK),
            Side(f"trl 1.16.0, {name}", peer, f"peers/{stage}.py", [*WORK, *settings]),
            {"pairs_per_s": 3.0},
            [*TINY, "--rankings", "4"],
        )
        for name, settings in SETTINGS.items()
    ]


if __name__ == "__main__":
    main()
