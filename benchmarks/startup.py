"""How long until something happens: `--help`, the import, the first step of a resumed run.

    python benchmarks/startup.py [--pairs 5]

Against trl 1.16.0, each in a new process with warm files. The resumed run is SFT of a 4.3M GPT-2
that was stopped after its checkpoint at step 2; the clock runs from the start of the process to the
end of the first step that is new.
"""

from __future__ import annotations

import argparse

from environments import OURS, peer_python
from harness import Case, Side, add_arguments, run_cases

KINDS = ("help", "import")


def main() -> None:
    """Run the cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    arguments = parser.parse_args()
    peer = peer_python("trl-1.16")
    cases = [
        Case(
            kind,
            Side("instructgpt", OURS, "workloads/start.py", ["--of", "instructgpt", "--do", kind]),
            Side("trl 1.16.0", peer, "workloads/start.py", ["--of", "trl", "--do", kind]),
            {"seconds": 1.0},
        )
        for kind in KINDS
    ]
    cases.append(
        Case(
            "resume",
            Side("instructgpt", OURS, "workloads/resume.py"),
            Side("trl 1.16.0", peer, "peers/resume.py"),
            {"seconds": 1.0},
        )
    )
    run_cases("startup", cases, arguments)


if __name__ == "__main__":
    main()
