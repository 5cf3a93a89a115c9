"""On a GPU: shares of what the device can do for SFT and sampling at 1B, and PPO at 124M.

    python benchmarks/gpu.py [--only sampling] [--timeout 120]

First the device's own limits: the rate of an 8192^3 bf16 product and the bandwidth of a 2 GB copy.
Then SFT of a Llama of 1.24B parameters (useful multiplications against the first), sampling from
it in bf16 (weights and cache read per step against the second, tokens against `generate`), and PPO
with GPT-2 models of 124M (episodes against TRL's last, where trl 1.12.0 is installed beside us).

Every workload is a process of its own and results/gpu.json is written after each, so that one that
fails or is late costs itself only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from results import HERE, RESULTS, save

MATRIX = "the measured bf16 matrix rate"
COPY = "the measured copy bandwidth"
PEER = "trl 1.12.0"
PPO = ["--layers", "12", "--width", "768", "--vocab", "50257", "--episodes", "256"]
ROWS = ["1", "16", "64", "256"]

Found = dict[str, Any]


class Benchmark:
    """Runs workloads and keeps rows: {workload, metric, ours, peer_name, peer, ratio, aim, ...}."""

    def __init__(self, timeout: float, folder: Path | None) -> None:
        self.timeout = timeout
        self.folder = folder
        self.failed: list[str] = []
        self.decoded: dict[int, Found] = {}  # ours, by the number of rows

    def run(self, script: str, *arguments: str) -> list[Found]:
        """The JSON lines that a workload prints; none when it fails, which is said."""
        command = [sys.executable, str(HERE / script), *arguments]
        started = time.perf_counter()
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=self.timeout)
            printed, error = done.stdout, done.stderr if done.returncode else ""
        except subprocess.TimeoutExpired as late:
            printed, error = (late.stdout or b"").decode(), f"not done after {self.timeout:.0f} s"
        if error:
            self.failed.append(" ".join([script, *arguments]))
            print(f"FAILED {self.failed[-1]}: {error[-1500:]}", flush=True)
        lines = [line for line in printed.splitlines() if line.startswith("{")]
        print(f"{script} {' '.join(arguments)}: {time.perf_counter() - started:.0f} s", flush=True)
        return [json.loads(line.replace("NaN", "null")) for line in lines if '"' in line]

    def add(
        self,
        workload: str,
        metric: str,
        ours: Found,
        peer_name: str | None = None,
        peer: float | None = None,
        aim: float | None = None,
    ) -> None:
        """One row, kept at once."""
        value = ours[metric]
        ratio = None if peer is None else value / peer
        row = {"workload": workload, "metric": metric, "peer_name": peer_name, "ours": value}
        row |= {"peer": peer, "ratio": ratio, "low": ratio, "high": ratio, "pairs": 1, "aim": aim}
        row["runs"] = {"ours": [ours]}
        if self.folder is not None:
            save("gpu", [row], self.folder)
        compared = "" if ratio is None else f", {ratio:.3g} of {peer_name}"
        print(f"  {workload}: {metric} {value:.5g}{compared}", flush=True)


def main() -> None:
    """Run what --only names, or everything; exit code 1 when a workload failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="parts whose name contains this: sft, ppo ...")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for one workload")
    parser.add_argument("--out", type=Path, help="folder of gpu.json; results/ if not --tiny")
    parser.add_argument("--tiny", action="store_true", help="try the program, also without a GPU")
    arguments = parser.parse_args()
    wanted = {name: part for name, part in PARTS.items() if arguments.only in name}
    if not wanted:
        sys.exit(f"no part contains '{arguments.only}': {', '.join(PARTS)}")
    benchmark = Benchmark(arguments.timeout, arguments.out or (None if arguments.tiny else RESULTS))
    tiny = ["--tiny"] if arguments.tiny else []
    (limits,) = benchmark.run("workloads/gpu_ceilings.py", *tiny) or sys.exit(1)
    benchmark.add("the device itself", "matrix_tflops", limits)
    benchmark.add("the device itself", "copy_gb_per_s", limits)
    for part in wanted.values():
        part(benchmark, limits, tiny)
    if benchmark.failed:
        sys.exit(f"failed: {'; '.join(benchmark.failed)}")


def _sft(benchmark: Benchmark, limits: Found, tiny: list[str]) -> None:
    _one_sft(benchmark, limits, "as it is", tiny)
    _one_sft(benchmark, limits, "compiled blocks", ["--compile", *tiny])


def _checkpointing(benchmark: Benchmark, limits: Found, tiny: list[str]) -> None:
    _one_sft(benchmark, limits, "activation checkpointing", ["--checkpointing", *tiny])


def _one_sft(benchmark: Benchmark, limits: Found, name: str, flags: list[str]) -> None:
    for found in benchmark.run("workloads/gpu_sft.py", *flags):
        workload = f"SFT, Llama of {found['params_m'] / 1000:.2f}B, {name}"
        rate = limits["matrix_tflops"]
        benchmark.add(workload, "useful_tflops", found, MATRIX, rate, aim=0.4)
        benchmark.add(workload, "tokens_per_s", found)


def _sampling(benchmark: Benchmark, limits: Found, tiny: list[str]) -> None:
    for found in benchmark.run("workloads/gpu_decode.py", "--rows", *ROWS, *tiny):
        benchmark.decoded[found["rows"]] = found
        rate = limits["copy_gb_per_s"]
        benchmark.add(_rows(found["rows"]), "gb_per_s", found, COPY, rate, aim=0.5)
    _against(benchmark, "generate", ["generate", "--rows", *ROWS, *tiny])


def _other_ways(benchmark: Benchmark, limits: Found, tiny: list[str]) -> None:
    if not benchmark.decoded:
        _sampling(benchmark, limits, tiny)
    _against(benchmark, "our engine without CUDA graphs", ["eager", "--rows", "1", "64", *tiny])
    _against(benchmark, "generate with a static cache", ["static", "--rows", "16", *tiny])


def _against(benchmark: Benchmark, name: str, flags: list[str]) -> None:
    """Rows for the numbers of rows that we have decoded, too."""
    for found in benchmark.run("workloads/gpu_decode.py", "--engine", *flags):
        mine = benchmark.decoded.get(found["rows"])
        if mine is not None:
            rate = found["tokens_per_s"]
            benchmark.add(_rows(found["rows"]), "tokens_per_s", mine, name, rate)


def _rows(rows: int) -> str:
    return f"sampling, Llama of 1.24B, {rows} row{'s' if rows > 1 else ''}"


def _ppo(benchmark: Benchmark, limits: Found, tiny: list[str]) -> None:
    work = ["--layers", "1", "--episodes", "128", "--response", "4"] if tiny else PPO
    for name, eos in {"full length": "0", "realistic lengths": "0.06"}.items():
        workload = f"PPO, GPT-2 of 124M, {name}"
        flags = [*work, "--eos", eos]
        for found in benchmark.run("workloads/ppo.py", *flags):
            peers = benchmark.run("peers/ppo.py", *flags) if _has_peer() else []
            peer = peers[0]["episodes_per_s"] if peers else None
            benchmark.add(workload, "episodes_per_s", found, PEER if peers else None, peer)


def _has_peer() -> bool:
    try:
        return f"trl {version('trl')}" == PEER
    except PackageNotFoundError:
        return False


PARTS = {
    "sft": _sft,
    "sampling": _sampling,
    "ppo": _ppo,
    "sft with checkpointing": _checkpointing,
    "sampling in other ways": _other_ways,
}


if __name__ == "__main__":
    main()
