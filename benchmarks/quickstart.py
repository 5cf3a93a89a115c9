"""Seconds and core-seconds of every stage of the quickstart, in one new run of it.

    python benchmarks/quickstart.py [--until sft]

The stages are those of the run's own report. Core-seconds are processor time of all threads.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from results import HERE, save

from instructgpt.pipeline.run import Observer, Outcome, run_recipe

RECIPE = HERE.parent / "recipes" / "quickstart.yaml"
AIM = 300.0  # seconds, on 2 cores


class CoreSeconds(Observer):
    """Processor seconds of each stage."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._before = 0.0

    def starting(self, name: str, stem: str, action: Any) -> None:
        self._before = _core_seconds()

    def finished(self, outcome: Outcome) -> None:
        row = _row(outcome.name, outcome.seconds, _core_seconds() - self._before)
        self.rows.append(row)
        print(f"{outcome.name}: {row['ours']} s, {row['core_seconds']} core-seconds", flush=True)


def main() -> None:
    """Run it in a folder that is thrown away."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--until", help="the last stage; nothing is written then")
    arguments = parser.parse_args()
    observer = CoreSeconds()
    with tempfile.TemporaryDirectory() as folder:
        run_recipe(RECIPE, Path(folder) / "run", until=arguments.until, observer=observer)
    rows = observer.rows
    whole = _row("whole", sum(r["ours"] for r in rows), sum(r["core_seconds"] for r in rows))
    print(f"whole: {whole['ours']} s of {AIM:.0f}, {whole['core_seconds']} core-seconds")
    if not arguments.until:
        save("quickstart", [*rows, {**whole, "aim": AIM}])


def _row(stage: str, seconds: float, core_seconds: float) -> dict[str, Any]:
    return {
        "workload": stage,
        "metric": "seconds",
        "ours": round(seconds, 1),
        "core_seconds": round(core_seconds, 1),
        "peer": None,
        "peer_name": None,
    }


def _core_seconds() -> float:
    return sum(os.times()[:4])  # user and system, of this process and of its children


if __name__ == "__main__":
    main()
