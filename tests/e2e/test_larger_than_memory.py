"""Memory does not grow with the data: the whole stage in a process of its own, by its peak."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import resource, sys
from instructgpt.pipeline.run import run_stage
run_stage("pretrain", sys.argv[1], flags=sys.argv[2:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
UNIT = 1 if sys.platform == "darwin" else 1024
SMALL, LARGE = 1_000_000, 40_000_000


def documents(path: Path, size: int) -> Path:
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefgh", k=draw.randrange(2, 8))) for _ in range(500)]
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < size:
            file.write(json.dumps({"text": " ".join(draw.choices(words, k=200))}) + "\n")
    return path


@pytest.mark.slow
def test_pretraining_on_forty_times_the_text_takes_the_same_memory(tmp_path: Path) -> None:
    shape = ["shape.layers=1", "shape.width=16", "shape.heads=1", "shape.context=256"]
    peaks = []
    for name, size in (("small", SMALL), ("large", LARGE)):
        path = documents(tmp_path / f"{name}.jsonl", size)
        flags = [f"documents={path}", "vocab_size=400", "tokens=4096", *shape]
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / name), *flags]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]) * UNIT)
    assert peaks[1] - peaks[0] < LARGE / 4
