"""Tokens per second and memory as model, batch, sequence, K and vocabulary grow; no peer.

    python benchmarks/growth.py [--pairs 1] [--only sequence]

Each axis varies one size of a 4.3M GPT-2 and keeps the useful tokens about the same, so that equal
rates mean that the cost is linear in useful tokens. On the axis of vocabularies all tokens are
predicted, 4,096 of them in a microbatch: their logits in float32 would fill vocabulary x 16 KiB,
and the peak must not follow that.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import dataclass

from environments import OURS
from harness import Side, add_arguments
from results import save
from sizes import SHAPES, TINY

SMALL = SHAPES["4.3M"]
TOKENS = 32768


@dataclass(frozen=True)
class Point:
    """One place on an axis."""

    axis: str
    value: str
    script: str
    arguments: list[str]


def points() -> list[Point]:
    """All of them, each axis from small to large."""
    found = [
        Point("model", f"{layers} x {width}", "sft", [*_shape(layers, width), "--rows", "256"])
        for layers, width in ((2, 128), (4, 256), (6, 384), (8, 512))
    ]
    found += [
        Point("batch", str(batch), "sft", [*SMALL, "--rows", "512", "--batch", str(batch)])
        for batch in (8, 32, 128)
    ]
    for length in (64, 128, 256, 512, 1024):
        rows = ["--rows", str(TOKENS // length), "--documents", str(length)]
        rows += ["--batch", str(4096 // length), "--context", str(length)]
        found.append(Point("sequence", str(length), "sft", [*SMALL, *rows]))
    for k in (2, 4, 6, 9):
        work = ["--rankings", str(360 // k), "--completions", str(k)]
        found.append(Point("K", str(k), "reward_model", [*SMALL, *work]))
    for vocab in (4096, 50257, 151936):
        work = ["--layers", "2", "--width", "64", "--vocab", str(vocab)]
        work += ["--documents", "256", "--rows", "32", "--batch", "16"]
        found.append(Point("vocabulary", str(vocab), "sft", work))
    return found


def _shape(layers: int, width: int) -> list[str]:
    return ["--layers", str(layers), "--width", str(width), "--vocab", "4096"]


def main() -> None:
    """Measure every point."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    arguments = parser.parse_args()
    wanted = [point for point in points() if arguments.only in point.axis]
    if not wanted:
        sys.exit(f"no axis contains '{arguments.only}'")
    extra, repeats = (TINY, 1) if arguments.smoke else ([], arguments.pairs)
    metric = "tokens_per_cpu_s" if arguments.clock == "cpu" else "tokens_per_s"
    rows = []
    for point in wanted:
        side = Side("instructgpt", OURS, f"workloads/{point.script}.py", point.arguments)
        runs = [side.measure(arguments.threads, extra) for _ in range(repeats)]
        row = {
            "workload": f"{point.axis} {point.value}",
            "axis": point.axis,
            "value": point.value,
            "metric": metric,
            "ours": statistics.median(run[metric] for run in runs),
            "peer": None,
            "peer_name": None,
            "peak_mib": max(run["peak_mib"] for run in runs),
            "params_m": runs[0]["params_m"],
        }
        print(f"{row['workload']}: {row['ours']:.4g} {metric}, {row['peak_mib']} MiB", flush=True)
        settings = {"threads": arguments.threads, "arguments": point.arguments}
        rows.append({**row, **settings, "runs": {"ours": runs}})
    if not arguments.smoke:
        save("growth", rows)


if __name__ == "__main__":
    main()
