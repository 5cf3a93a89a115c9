"""A loop that is killed anywhere and started again ends as one that never was."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

from instructgpt.config.loop import Loop, load_loop
from instructgpt.loop.history import read_history
from instructgpt.pipeline.loop.run import run_loop

TINY = Path(__file__).parents[1] / "e2e" / "tiny_loop.yaml"
PIPELINE = "instructgpt.pipeline.loop"


class _Killed(BaseException):
    """Stands for a kill: nothing in the program catches it."""


def _settings(folder: Path) -> Path:
    """The tiny loop without what costs time and decides nothing here."""
    path = folder / "loop.yaml"
    text = TINY.read_text(encoding="utf-8")
    path.write_text(text[: text.index("  evaluate:\n")], encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A round that nobody interrupted, and its start for the others to begin from."""
    folder = tmp_path_factory.mktemp("whole")
    run_loop(load_loop(_settings(folder)), folder / "loop", by="ann", rounds=1)
    return folder / "loop"


def _result(root: Path) -> dict[str, Any]:
    """What was said, chosen, learned and decided; without times of day."""
    rows: dict[str, Any] = {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.glob("rounds/*/*/**/*"))
        if path.name == "model.safetensors" or path.suffix == ".jsonl"
        if "timings" not in path.name and path.name != "removals.jsonl"
    }
    for path in sorted((root / "feedback").glob("*.jsonl")):
        said = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for row in said:
            row["meta"].pop("consent")
        rows[path.name] = said
    rows["history"] = [(event.kind, event.round, dict(event.facts)) for event in read_history(root)]
    return rows


# What it dies in, before which call of an attempt, and in how many attempts at most.
PLACES = {
    "between any two events": (f"{PIPELINE}.work.add_event", 2, 20),
    "before the first event": (f"{PIPELINE}.run.add_event", 1, 1),
    "while users ask or vote": ("instructgpt.serving.feedback.FeedbackLog.record", 70, 20),
    "while prompts are written": (f"{PIPELINE}.collect.write_removals", 1, 2),
    "while demonstrations are written": (f"{PIPELINE}.demonstrate.write_jsonl", 2, 2),
    "in a step of PPO": ("instructgpt.training.ppo.PPOTrainer.step", 2, 20),
    "before the decision": (f"{PIPELINE}.decisions.add_event", 1, 2),
}


@pytest.mark.parametrize("place", PLACES)
def test_killed_again_and_again(whole, tmp_path, monkeypatch, place) -> None:
    loop, root = load_loop(_settings(tmp_path)), tmp_path / "loop"
    shutil.copytree(whole / "start", root / "start")
    (root / "rounds").mkdir()
    target, call, most = PLACES[place]
    deaths = 0
    while _dies(loop, root, target, call if deaths < most else 0, monkeypatch):
        deaths += 1
    assert deaths > 0  # it really was interrupted
    assert _result(root) == _result(whole)


def _dies(loop: Loop, root: Path, target: str, call: int, monkeypatch) -> bool:
    """Run, and die before the `call`-th call of `target`; 0: not at all. Whether it died."""
    calls = 0
    original = resolve_name(target)

    def dying(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise _Killed
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(target, dying)
        try:
            run_loop(loop, root, by="ann", rounds=1)
        except _Killed:
            return True
    return False


@pytest.mark.slow
def test_kill_minus_nine_at_random_moments(whole, tmp_path) -> None:
    root = tmp_path / "loop"
    command = [sys.executable, "-m", "instructgpt", "loop", "run", str(_settings(tmp_path))]
    command += ["--out", str(root), "--rounds", "1", "--by", "ann"]
    rng, kills = random.Random(0), 0
    while kills < 8:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(2.0, 15.0))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert kills > 0
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert _result(root) == _result(whole)
