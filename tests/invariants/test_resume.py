"""A run that is killed and started again ends exactly as one that never was: bit for bit on CPU."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from instructgpt.pipeline.run import run_recipe, run_stage

RECIPE = Path(__file__).parents[1] / "e2e" / "tiny.yaml"
STAGES = ["base", "sft", "reward_model", "dpo", "ppo_ptx"]
MODULES = {
    "base": "instructgpt.training.pretrain.PretrainTrainer",
    "sft": "instructgpt.training.sft.SFTTrainer",
    "reward_model": "instructgpt.training.reward_model.RewardModelTrainer",
    "dpo": "instructgpt.training.dpo.DPOTrainer",
    "ppo_ptx": "instructgpt.training.ppo.PPOTrainer",
}
STEMS = {"base": "pretrain", "ppo_ptx": "ppo"}


class _Killed(BaseException):
    """Stands for a kill: nothing in the program catches it."""


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "tiny"
    run_recipe(RECIPE, out, until="ppo_ptx")
    return out


def _result(folder: Path) -> dict[str, bytes]:
    files = [folder / "metrics.jsonl", *sorted(folder.glob("*/model.safetensors"))]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("call", ["step", "evaluate"])
def test_killed_in_every_step_and_evaluation(root, tmp_path, monkeypatch, name, call):
    stem, config = STEMS.get(name, name), root / name / "config.yaml"
    out = tmp_path / name
    crash_at = 0
    while True:
        crash_at += 1
        if not _run_until(stem, config, out, MODULES[name], call, crash_at, monkeypatch):
            break
    assert crash_at > 2  # it really was interrupted, more than once
    assert _result(out) == _result(root / name)


def _run_until(stem, config, out, trainer, call, crash_at, monkeypatch) -> bool:
    """Run on; die in the second `call` of this attempt. True when it died."""
    calls = 0
    module, cls = trainer.rsplit(".", 1)
    original = getattr(getattr(__import__(module, fromlist=[cls]), cls), call)

    def dying(self, step):
        nonlocal calls
        calls += 1
        if calls == 2 and crash_at < 50:
            raise _Killed
        return original(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(f"{trainer}.{call}", dying)
        try:
            run_stage(stem, out, [config])
        except _Killed:
            return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGES)
def test_kill_minus_nine_at_random_moments(root, tmp_path, name):
    stem, config = STEMS.get(name, name).replace("_", "-"), root / name / "config.yaml"
    command = [sys.executable, "-m", "instructgpt", stem, "--config", str(config)]
    command += ["--out", str(tmp_path / name)]
    rng, kills = random.Random(name), 0
    while kills < 8 and _start_and_kill(command, tmp_path / name, rng.uniform(0.0, 3.0)):
        kills += 1
    assert kills > 0
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert _result(tmp_path / name) == _result(root / name)


def _start_and_kill(command: list[str], folder: Path, delay: float) -> bool:
    """Kill the process `delay` seconds after it has begun to work; False when it was done before.

    Counted from the moment it holds the lock: starting Python takes longer than these stages.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lock = folder / ".lock"
    while process.poll() is None and not (
        lock.exists() and f'"pid": {process.pid},' in lock.read_text()
    ):
        time.sleep(0.01)
    time.sleep(delay)
    finished = process.poll() is not None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return not finished


def test_a_resumed_run_reports_its_summary(root, tmp_path, monkeypatch):
    out = tmp_path / "ppo"
    config = root / "ppo_ptx" / "config.yaml"
    assert _run_until("ppo", config, out, MODULES["ppo_ptx"], "step", 1, monkeypatch)
    assert not (out / "done.json").exists()
    run_stage("ppo", out, [config])
    done, whole = (
        json.loads((folder / "done.json").read_text(encoding="utf-8"))["summary"]
        for folder in (out, root / "ppo_ptx")
    )
    assert done == whole
