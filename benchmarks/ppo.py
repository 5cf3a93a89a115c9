"""PPO from rollout to update: episodes per second and memory, against the last PPO of TRL.

    python benchmarks/ppo.py [--pairs 3] [--only 4.3M]

Policy, reference, reward model and critic of one size, GPT-2 architecture, random weights; prompts
of 8 to 64 tokens, up to 48 new ones, four epochs of one minibatch each; 128 episodes in batches of
64 at 4.3M, one batch of 16 at 124M. "full length": every completion is 48 tokens, the peer's best
case; "real lengths": 6 % chance of an end at each token. The peer keeps no moving average of the
policy, which would be a copy of its weights more, and so we keep none here.
"""

from __future__ import annotations

import argparse

from environments import OURS, peer_python
from harness import Case, Side, add_arguments, run_cases
from sizes import SHAPES, TINY

WORK = {
    "4.3M": ["--episodes", "128", "--batch", "64"],
    "124M": ["--episodes", "16", "--batch", "16"],
}
# episodes per second, and a peak below the peer's; half of it at 124M
KINDS = {
    "real lengths": (["--eos", "0.06"], {"4.3M": (5.0, 1.0), "124M": (5.0, 2.0)}),
    "full length": (["--eos", "0"], {"4.3M": (3.0, 1.0), "124M": (3.0, 2.0)}),
    "real lengths, LoRA": (["--eos", "0.06", "--lora"], {"124M": (5.0, 2.0)}),
}
SMOKE = [*TINY, "--episodes", "16", "--batch", "16"]


def main() -> None:
    """Run the cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    arguments = parser.parse_args()
    peer = peer_python("trl-1.12")
    cases = []
    for kind, (eos, aims) in KINDS.items():
        for size, (speed, memory) in aims.items():
            work = [*SHAPES[size], *WORK[size], *eos]
            cases.append(
                Case(
                    f"{size}, {kind}",
                    Side("instructgpt", OURS, "workloads/ppo.py", work),
                    Side("trl 1.12.0", peer, "peers/ppo.py", work),
                    {"episodes_per_s": speed, "peak_mib": memory},
                    SMOKE,
                )
            )
    run_cases("ppo", cases, arguments)


if __name__ == "__main__":
    main()
