from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

import pytest

from instructgpt.distributed.world import World
from instructgpt.storage.run_dir import RunDir
from instructgpt.training.runner import PhaseClock, drive, time_table


class Sleeper:
    """A stage of known durations."""

    def __init__(self, steps: int) -> None:
        self.total_steps = steps
        self.arithmetic = "as asked for"
        self.clock = PhaseClock()

    def step(self, step: int) -> dict[str, float]:
        with self.clock.phase("rollout"):
            time.sleep(0.02)
        self.clock.tokens += 50
        return {"loss": float(step)}

    def evaluate(self, step: int) -> dict[str, float]:
        return {}

    def state_dict(self) -> dict[str, float]:
        return {}

    def load_state_dict(self, state: dict[str, float]) -> None:
        pass


def finished(path: Path, steps: int, profiled: bool = False) -> RunDir:
    with RunDir.open(path, "sft", {}, seed=0) as run:
        run.profiled = profiled
        drive(Sleeper(steps), run, World(), name="sft", checkpoint_every=2, eval_every=2)
    return RunDir.view(path)


def test_every_phase_is_in_the_timings_the_last_checkpoint_too(tmp_path: Path) -> None:
    rows = finished(tmp_path / "run", 4).read_timings()
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 4]
    assert sum(row.get("rollout", 0.0) for row in rows) >= 4 * 0.02
    assert "checkpoint" in rows[-1]  # made after the last step


def test_the_table_adds_up_and_names_what_no_phase_accounts_for() -> None:
    timings = [
        {"step": 1, "rollout": 3.0, "update": 1.0, "tokens": 100.0},
        {"step": 2, "rollout": 2.0, "update": 2.0, "wait": 1.0, "tokens": 300.0},
    ]
    lines = time_table(timings, seconds=10.0).splitlines()
    assert [line.split() for line in lines] == [
        ["time", "rollout", "5.0", "s", "50.0%"],
        ["update", "3.0", "s", "30.0%"],
        ["wait", "1.0", "s", "10.0%"],
        ["other", "1.0", "s", "10.0%"],
        ["400", "tokens,", "40", "a", "second"],
    ]


def test_waiting_for_other_processes_is_not_the_phase_own_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(World, "waited", 0.0)
    clock = PhaseClock()
    with clock.phase("update"):
        time.sleep(0.02)
        World.waited += 5.0
    assert clock.seconds["wait"] == 5.0
    assert clock.seconds["update"] < 0.0  # 0.02 s passed, of which 5 s are said to be waiting


def test_a_profile_is_a_trace_with_the_phases_in_it(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", 6, profiled=True)
    trace = json.loads(gzip.decompress(run.path("profile.json.gz").read_bytes()))
    names = [event.get("name") for event in trace["traceEvents"]]
    assert names.count("rollout") == 3  # steps 2 to 4 of 6
    assert not run.path(".profile.json.gz").exists()
    assert not finished(tmp_path / "other", 6).path("profile.json.gz").exists()


def test_a_stage_without_a_step_left_says_that_nothing_was_recorded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = finished(tmp_path / "run", 0, profiled=True)
    assert not run.path("profile.json.gz").exists()
    assert "nothing was recorded" in caplog.text
