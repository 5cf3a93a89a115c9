"""Clock, memory, and the arithmetic that a workload needs against what the machine can do."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any

import torch


class Stopwatch:
    """Seconds and processor seconds (of all threads) since it was made, and rates in both."""

    def __init__(self) -> None:
        self._seconds, self._cpu_seconds = time.perf_counter(), time.process_time()

    def rates(self, **done: float) -> dict[str, float]:
        """For `episodes=64`: episodes_per_s, episodes_per_cpu_s, seconds, cpu_seconds."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - self._seconds
        cpu_seconds = time.process_time() - self._cpu_seconds
        found = {"seconds": seconds, "cpu_seconds": cpu_seconds}
        for name, count in done.items():
            found |= {f"{name}_per_s": count / seconds, f"{name}_per_cpu_s": count / cpu_seconds}
        return {name: float(f"{value:.5g}") for name, value in found.items()}


def report(**found: Any) -> None:
    """The one JSON line, with the most memory that the process has held, and what it ran on."""
    versions = {name: version(name) for name in ("torch", "transformers")}
    print(json.dumps({**found, "peak_mib": peak_mib(), "versions": versions}))


def peak_mib() -> float:
    """The most memory that this process has held: of the GPU where there is one."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20)
    high = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(high / (2**20 if sys.platform == "darwin" else 2**10))


def training_flops(arguments: argparse.Namespace, rows: Iterable[tuple[int, int]]) -> float:
    """Multiplications and additions that training once on `rows` needs, whatever is really done.

    rows: (tokens, tokens that a loss reads) of each. 6 for every weight of a matrix and token: of
    the blocks (12 D^2 each) for all tokens, of the output layer (D V) only where a loss reads it.
    Causal attention: 6 D T^2 per block, half of the full square. Nothing for norms and activations.
    """
    width, layers = arguments.width, arguments.layers
    total = 0.0
    for tokens, predicted in rows:
        total += 6 * (12 * layers * width**2 * tokens + width * arguments.vocab * predicted)
        total += 6 * layers * width * tokens**2
    return total


def matrix_rate(dtype: torch.dtype, clock: Callable[[], float] = time.perf_counter) -> float:
    """FLOP/s of the best of ten square matrix products in `dtype` on this machine, now."""
    cuda = torch.cuda.is_available()
    size = 8192 if cuda else 2048
    a, b = (torch.randn(size, size, device="cuda" if cuda else "cpu").to(dtype) for _ in range(2))
    times = []
    for _ in range(10):
        started = clock()
        a @ b
        if cuda:
            torch.cuda.synchronize()
        times.append(clock() - started)
    return 2 * size**3 / min(times)


def utilisation(flops: float, rates: dict[str, float]) -> dict[str, float]:
    """Share of the machine's matrix rate in bfloat16, measured now; on both clocks.

    The peer and we are held against bfloat16's rate, whatever type either computes in; each process
    measures it anew.
    """
    wall = matrix_rate(torch.bfloat16)
    cpu = matrix_rate(torch.bfloat16, time.process_time)
    return {
        "matrix_gflops": round(wall / 1e9, 1),
        "mfu": round(flops / rates["seconds"] / wall, 4),
        "mfu_cpu": round(flops / rates["cpu_seconds"] / cpu, 4),
    }
