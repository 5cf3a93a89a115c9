"""PPO from rollout to update, episodes per second, against the last PPO that TRL shipped.

    python benchmarks/ppo.py [--pairs 3] [--only 4M]

Policy, reference, reward model and critic of one size, GPT-2 architecture, random weights; prompts
of 8 to 64 tokens, up to 48 new ones, batches of 64 episodes, four epochs of one minibatch each.
"long": every completion is 48 tokens, the peer's best case; "real": 6 % chance of an end at each.
"""

from __future__ import annotations

import argparse

from harness import OURS, Case, Side, add_arguments, peer_python, run_cases

SIZES = {
    "4M": ["--layers", "4", "--width", "256", "--vocab", "4096", "--episodes", "256"],
    "124M": ["--layers", "12", "--width", "768", "--vocab", "50257", "--episodes", "64"],
}
LENGTHS = {"long": (["--eos", "0"], 3.0), "real": (["--eos", "0.06"], 5.0)}


def main() -> None:
    """Run the four cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    arguments = parser.parse_args()
    peer = peer_python("trl-1.12")
    cases = [
        Case(
            f"ppo {size} {length}",
            Side("instructgpt", OURS, "workloads/ppo.py", [*shape, *eos]),
            Side("trl 1.12.0", peer, "peers/ppo.py", [*shape, *eos]),
            "episodes",
            aim,
        )
        for size, shape in SIZES.items()
        for length, (eos, aim) in LENGTHS.items()
    ]
    run_cases("ppo", cases, arguments)


if __name__ == "__main__":
    main()
