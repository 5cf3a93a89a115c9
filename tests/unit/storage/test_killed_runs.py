"""kill -9 at every system call of a run: what it finishes with equals the uninterrupted run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from instructgpt.storage.run_dir import RunDir

DRIVER = Path(__file__).with_name("kill_driver.py")
SOURCE = Path(__file__).parents[3] / "src"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def finished_facts(root: Path) -> dict[str, object]:
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


@pytest.mark.parametrize(("mode", "least_kills"), [("everywhere", 60), ("again and again", 8)])
def test_a_killed_and_continued_run_equals_the_uninterrupted_one(
    tmp_path: Path, mode: str, least_kills: int
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(DRIVER), mode, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= least_kills
    expected = finished_facts(tmp_path / "uninterrupted")
    roots = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert len(roots) > 1
    for root in roots:
        assert finished_facts(root) == expected, root.name


def test_the_uninterrupted_run_is_what_the_driver_says(tmp_path: Path) -> None:
    # the logistic map by hand, so that the equality above compares the right numbers
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    code = (
        f"import sys; sys.path.insert(0, {str(DRIVER.parent)!r}); import kill_driver, pathlib;"
        f"kill_driver.work(pathlib.Path({str(tmp_path / 'run')!r}))"
    )
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    x, rows = 0.3, []
    for step in range(1, 8):
        x = 3.9 * x * (1 - x)
        total = torch.full((3,), x, dtype=torch.float64).sum().item()
        rows.append({"step": step, "sum": total, "nan": None, "nonfinite": {"nan": "nan"}})
    written = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()]
    assert written == rows
    assert [p.name for p in sorted((tmp_path / "run/checkpoints").iterdir())] == [
        "step-00000006",
        "step-00000007",
    ]
