"""SFT, useful tokens per second, against TRL's SFTTrainer at its defaults and at its best here.

    python benchmarks/sft.py [--pairs 3] [--only 4M]

GPT-2 architecture, random weights, prompts of 8 to 64 tokens, completions of 1 to 64, one epoch
over 1,024 rows (128 at 124M). "best": batches of 8 without activation checkpointing, the fastest of
seven settings of the peer that were tried on a CPU.
"""

from __future__ import annotations

import argparse

from harness import OURS, Case, Side, add_arguments, peer_python, run_cases

SIZES = {
    "4M": ["--layers", "4", "--width", "256", "--vocab", "4096", "--rows", "1024"],
    "124M": ["--layers", "12", "--width", "768", "--vocab", "50257", "--rows", "128"],
}
SETTINGS = {"defaults": ([], 4.0), "best": (["--no-checkpointing"], 2.5)}


def main() -> None:
    """Run the four cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    arguments = parser.parse_args()
    peer = peer_python("trl-1.16")
    cases = [
        Case(
            f"sft {size} against {name}",
            Side("instructgpt", OURS, "workloads/sft.py", shape),
            Side(f"trl 1.16.0 ({name})", peer, "peers/sft.py", [*shape, *settings]),
            "tokens",
            aim,
        )
        for size, shape in SIZES.items()
        for name, (settings, aim) in SETTINGS.items()
    ]
    run_cases("sft", cases, arguments)


if __name__ == "__main__":
    main()
