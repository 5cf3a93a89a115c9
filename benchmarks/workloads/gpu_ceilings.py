"""What the device can do: rate of a large bf16 matrix product, bandwidth of a large copy.

Prints one JSON line. Random numbers, because zeros multiply faster; medians of 20 after a warm-up.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from gpu_models import synchronize


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size, count = (256, 1 << 20) if arguments.tiny else (8192, 1 << 31)
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    product = _seconds(lambda: a @ b)
    source = torch.randint(0, 255, (count,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = _seconds(lambda: target.copy_(source))
    # read and written
    found = {"matrix_tflops": 2e-12 * size**3 / product, "copy_gb_per_s": 2e-9 * count / copy}
    print(json.dumps(found))


def _seconds(run: Callable[[], object]) -> float:
    times = []
    for _ in range(25):
        synchronize()
        started = time.perf_counter()
        run()
        synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[5:])


if __name__ == "__main__":
    main()
