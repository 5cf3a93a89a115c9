"""kill -9 at every system call of a run: what it finishes with equals the uninterrupted run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from instructgpt.storage.run_dir import RunDir

DRIVER = Path(__file__).with_name("kill_driver.py")
SOURCE = Path(__file__).parents[3] / "src"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def finished_facts(root: Path) -> dict[str, Any]:
    run = RunDir.view(root)
    loaded = run.load_checkpoint()
    assert loaded is not None
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))
    return {
        "metrics": (root / "metrics.jsonl").read_bytes(),
        "timed steps": [row["step"] for row in run.read_timings()],
        "summary": run.done and run.done["summary"],
        "step": loaded[0],
        "weight": loaded[1]["weight"].tolist(),
        "files": names,
    }


@pytest.mark.parametrize(
    ("stride", "least_kills"),
    [
        pytest.param(3, 50, id="every third call"),
        pytest.param(1, 150, id="every call", marks=pytest.mark.slow),
        pytest.param(0, 4, id="at random, many times each"),
    ],
)
def test_a_killed_and_continued_run_equals_the_uninterrupted_one(
    tmp_path: Path, stride: int, least_kills: int
) -> None:
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(tmp_path), str(stride)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= least_kills
    expected = finished_facts(tmp_path / "uninterrupted")
    rows = [json.loads(line) for line in expected["metrics"].splitlines()]
    assert rows == hand_worked_metrics()
    assert [name for name in expected["files"] if name.endswith("state.pt")] == [
        "checkpoints/step-00000004/state.pt",
        "checkpoints/step-00000005/state.pt",
    ]
    roots = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert len(roots) > 1
    for root in roots:
        assert finished_facts(root) == expected, root.name


def hand_worked_metrics() -> list[dict[str, object]]:
    """The logistic map from 0.3, of which the driver logs the sum of three equal copies."""
    x, rows = 0.3, []
    for step in range(1, 6):
        x = 3.9 * x * (1 - x)
        rows.append({"step": step, "sum": x + x + x, "nan": None, "nonfinite": {"nan": "nan"}})
    return rows
