"""Seconds of a new process that prints a program's help or imports it; prints one JSON line."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    """Once to read the files, once for the clock."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--of", required=True, help="a package with a command of its own name")
    parser.add_argument("--do", choices=["help", "import"], required=True)
    parser.add_argument("--threads", type=int, help="taken from the environment by the process")
    arguments = parser.parse_args()
    if arguments.do == "help":
        command = [str(Path(sys.executable).parent / arguments.of), "--help"]
    else:
        command = [sys.executable, "-c", f"import {arguments.of}"]
    for _ in range(2):
        before, started = _child_seconds(), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds, cpu_seconds = time.perf_counter() - started, _child_seconds() - before
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "work": arguments.do}))


def _child_seconds() -> float:
    found = os.times()
    return found.children_user + found.children_system


if __name__ == "__main__":
    main()
