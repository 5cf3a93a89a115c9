"""Interleaved pairs: ours, theirs, theirs, ours ..., each in a process of its own.

Machines are noisy, and the noise of a minute hits both sides of a pair alike. So the result of a
benchmark is the median over pairs of the ratio within a pair, shown with the smallest and largest.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results import HERE, Run, compare, machine, revision, save


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a script that prints one JSON line, and the Python that runs it."""

    name: str
    python: Path
    script: str
    arguments: Sequence[str] = ()

    def measure(self, threads: int, extra: Sequence[str] = ()) -> Run:
        """Run it once. Exits with its own words when it fails."""
        command = [str(self.python), str(HERE / self.script), *self.arguments, *extra]
        command += ["--threads", str(threads)]
        environment = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "OMP_NUM_THREADS": str(threads),
        }
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            sys.exit(f"{self.name} failed: {' '.join(command)}\n{done.stderr[-3000:]}")
        found: Run = json.loads(done.stdout.strip().splitlines()[-1])
        return found


@dataclass(frozen=True)
class Case:
    """One workload on two sides. aims: metric that both print -> the ratio we want to reach.

    smoke: arguments that make the same work tiny, for `--smoke`.
    """

    workload: str
    ours: Side
    theirs: Side
    aims: Mapping[str, float]
    smoke: Sequence[str] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What every benchmark takes: --pairs, --only, --threads, --clock, --smoke."""
    parser.add_argument("--pairs", type=positive, default=3, help="interleaved pairs per case")
    parser.add_argument("--only", default="", help="run the cases whose name contains this")
    parser.add_argument("--threads", type=positive, default=os.cpu_count(), help="of both sides")
    parser.add_argument("--smoke", action="store_true", help="one tiny pair, to see that it runs")
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: processor seconds; with --threads 1 they do not see who else is on the machine",
    )


def positive(text: str) -> int:
    """An argument that counts from 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


def run_cases(benchmark: str, cases: Sequence[Case], arguments: argparse.Namespace) -> None:
    """Measure the cases, print a line for each pair and each median, write results/NAME.json."""
    wanted = [case for case in cases if arguments.only in case.workload]
    if not wanted:
        names = ", ".join(case.workload for case in cases)
        sys.exit(f"no case of {benchmark} contains '{arguments.only}': {names}")
    print(f"{benchmark} at {revision()}, {arguments.threads} threads: {machine()}", flush=True)
    for case in wanted:
        rows = _run_case(case, arguments)
        if arguments.smoke:
            print(f"{case.workload}: both sides run and do the same work", flush=True)
            continue
        for row in rows:
            print(line(row), flush=True)
        save(benchmark, rows)  # after every case: an interrupted benchmark keeps what it has


def _run_case(case: Case, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    pairs, extra = (1, case.smoke) if arguments.smoke else (arguments.pairs, ())
    ours: list[Run] = []
    theirs: list[Run] = []
    for pair in range(pairs):
        # Who goes first alternates: a machine that warms up or slows down favours nobody.
        order = [(case.ours, ours), (case.theirs, theirs)]
        for side, found in order if pair % 2 == 0 else reversed(order):
            found.append(side.measure(arguments.threads, extra))
        check_same_work(case, ours[-1], theirs[-1])
    rows = []
    for metric, aim in case.aims.items():
        metric = on_clock(metric, arguments.clock)
        row = {"workload": case.workload, "peer_name": case.theirs.name, "aim": aim}
        row |= compare(metric, ours, theirs)
        row |= {"threads": arguments.threads, "runs": {"ours": ours, "peer": theirs}}
        row["arguments"] = {"ours": list(case.ours.arguments), "peer": list(case.theirs.arguments)}
        rows.append(row)
    return rows


def check_same_work(case: Case, ours: Run, theirs: Run) -> None:
    """Exits unless both sides print the same fingerprint of their token ids."""
    if ours["work"] != theirs["work"]:
        sys.exit(
            f"{case.workload}: the sides did not do the same work: {ours['work']} and "
            f"{theirs['work']} are the fingerprints of their token ids"
        )


def on_clock(metric: str, clock: str) -> str:
    """The name under which a metric of wall time is printed for processor time."""
    if clock == "wall":
        return metric
    if metric == "seconds":
        return "cpu_seconds"
    return metric.replace("_per_s", "_per_cpu_s")


def line(row: Mapping[str, Any]) -> str:
    """A result in words."""
    reached = "reached" if row["ratio"] >= row["aim"] else "NOT reached"
    return (
        f"{row['workload']}: {row['metric']} {row['ours']:.4g} against {row['peer']:.4g} "
        f"({row['peer_name']}), {row['ratio']:.2f} x [{row['low']:.2f}, {row['high']:.2f}] in "
        f"{row['pairs']} pairs; aim {row['aim']} x: {reached}"
    )
