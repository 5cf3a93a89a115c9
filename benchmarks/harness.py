"""Interleaved pairs: ours, theirs, ours, theirs ..., each in a process of its own.

Machines are noisy, and the noise of a minute hits both sides of a pair alike. So the result of a
benchmark is the median over pairs of the ratio within a pair, shown with the smallest and largest.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PEERS = HERE / ".peers"
OURS = Path(sys.executable)


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a script that prints one JSON line, and the Python that runs it."""

    name: str
    python: Path
    script: str
    arguments: list[str] = field(default_factory=list)

    def measure(self, threads: int) -> dict[str, Any]:
        """Run it once. Exits with its own words when it fails."""
        command = [str(self.python), str(HERE / self.script), *self.arguments]
        command += ["--threads", str(threads)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            sys.exit(f"{self.name} failed: {' '.join(command)}\n{done.stderr[-3000:]}")
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return found


@dataclass(frozen=True)
class Case:
    """One row of a benchmark's table. metric: both sides print `METRIC_per_s`; more is better."""

    name: str
    ours: Side
    theirs: Side
    metric: str
    aim: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What every benchmark takes: --pairs, --only, --threads, --clock."""
    parser.add_argument("--pairs", type=int, default=3, help="interleaved pairs per case")
    parser.add_argument("--only", default="", help="run the cases whose name contains this")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of both sides")
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: processor seconds; with --threads 1 they do not see who else is on the machine",
    )


def run_cases(benchmark: str, cases: list[Case], arguments: argparse.Namespace) -> None:
    """Measure the cases, print a line for each pair and each median, write results/NAME.json."""
    only = arguments.only
    rows = [_run_case(case, arguments) for case in cases if only in case.name]
    if not rows:
        sys.exit(f"no case of {benchmark} contains '{only}': {', '.join(c.name for c in cases)}")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{benchmark}.json"
    before = json.loads(path.read_text())["cases"] if only and path.exists() else []
    kept = {row["case"]: row for row in before}
    kept |= {row["case"]: row for row in rows}
    path.write_text(json.dumps({"machine": machine(), "cases": list(kept.values())}, indent=1))
    print(f"written: {path.relative_to(HERE.parent)}")


def _run_case(case: Case, arguments: argparse.Namespace) -> dict[str, Any]:
    pairs = arguments.pairs
    metric = f"{case.metric}_per_{'cpu_s' if arguments.clock == 'cpu' else 's'}"
    ours, theirs, ratios = [], [], []
    for pair in range(pairs):
        # Who goes first alternates: a machine that warms up or slows down favours nobody.
        order = [(case.ours, ours), (case.theirs, theirs)]
        for side, found in order if pair % 2 == 0 else reversed(order):
            found.append(side.measure(arguments.threads))
        ratios.append(ours[-1][metric] / theirs[-1][metric])
        print(
            f"{case.name}: {metric} {ours[-1][metric]:.4g} against "
            f"{theirs[-1][metric]:.4g} ({case.theirs.name}), {ratios[-1]:.2f} x",
            flush=True,
        )
    median = statistics.median(ratios)
    print(
        f"{case.name}: {median:.2f} x [{min(ratios):.2f}, {max(ratios):.2f}] in {pairs} pairs; "
        f"aim {case.aim} x: {'reached' if median >= case.aim else 'not reached'}"
    )
    return {
        "case": case.name,
        "metric": metric,
        "peer": case.theirs.name,
        "ratio": median,
        "low": min(ratios),
        "high": max(ratios),
        "aim": case.aim,
        "arguments": case.ours.arguments,
        "threads": arguments.threads,
        "ours": ours,
        "theirs": theirs,
        "date": time.strftime("%Y-%m-%d"),
    }


def peer_python(name: str) -> Path:
    """The Python of the peer's own environment, made from peers/NAME.txt at the first use."""
    home = PEERS / name
    python = home / "bin" / "python"
    wanted = (HERE / "peers" / f"{name}.txt").read_text()
    stamp = home / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"making the environment of {name} in {home.relative_to(HERE.parent)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        install = [str(python), "-m", "pip", "install", "-q"]
        # torch first and alone: the build that is here, not one with gigabytes of CUDA
        subprocess.run([*install, f"torch=={version('torch').split('+')[0]}"], check=True)
        subprocess.run([*install, "-r", str(HERE / "peers" / f"{name}.txt")], check=True)
        stamp.write_text(wanted)
    return python


def machine() -> dict[str, Any]:
    """Where the numbers come from."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers")},
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")
