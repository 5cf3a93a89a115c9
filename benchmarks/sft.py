"""SFT and pretraining, useful tokens per second, against TRL's SFTTrainer; share of the machine.

    python benchmarks/sft.py [--pairs 3] [--only 4.3M]

GPT-2 architecture, random weights, one epoch. SFT: prompts of 8 to 64 tokens, completions of 1 to
64, 1,024 rows (256 at 124M), the loss on the completion. Pretraining: 64 rows of 256 tokens, each
of them predicted. "defaults" are the peer's; "best" is batches of 8 without activation
checkpointing, the fastest of seven settings of the peer that were tried on a processor.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from environments import OURS, peer_python
from harness import Case, Side, add_arguments, run_cases
from sizes import SHAPES, TINY

ROWS = {"4.3M": "1024", "124M": "256"}
DOCUMENTS = ["--documents", "256", "--rows", "64"]
SETTINGS = {"defaults": ([], 4.0), "best": (["--no-checkpointing"], 2.5)}


def main() -> None:
    """Run the cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    arguments = parser.parse_args()
    peer = peer_python("trl-1.16")
    cases = [
        _case(f"{size}, {name}", [*SHAPES[size], "--rows", rows], name, peer)
        for size, rows in ROWS.items()
        for name in SETTINGS
    ]
    documents = [*SHAPES["124M"], *DOCUMENTS, "--batch", "8"]
    cases.append(_case("124M, pretraining", documents, "best", peer))
    run_cases("sft", cases, arguments)


def _case(workload: str, work: list[str], settings: str, peer: Path) -> Case:
    arguments, aim = SETTINGS[settings]
    return Case(
        workload,
        Side("instructgpt", OURS, "workloads/sft.py", work),
        Side(
            f"trl 1.16.0, {settings}",
            peer,
            "peers/sft.py",
            [*work, *arguments],
        ),
        {"tokens_per_s": aim},
        [*TINY, "--rows", "32"],
    )


if __name__ == "__main__":
    main()
