"""A process that kills itself at the n-th system call, over and over; run by test_killed_runs.

Forking costs milliseconds where importing torch in a fresh process costs seconds.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path

import torch

from instructgpt.storage import checkpoints, manifest
from instructgpt.storage.run_dir import RunDir

STEPS = 5
EVERY = 2
PATCHED = ("open", "write", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir", "truncate")


def work(root: Path, durable: Path | None = None) -> None:
    """A run with a chaotic state: a step lost or done twice changes every later number."""
    with RunDir.open(root, "sft", {"lr": 0.1}, seed=0) as run:
        if run.is_done:
            return
        loaded = run.load_checkpoint()
        step, state = loaded or (0, {"weight": torch.full((3,), 0.3, dtype=torch.float64)})
        weight = state["weight"]
        while step < STEPS:
            step += 1
            weight = 3.9 * weight * (1 - weight)
            run.log(step, {"sum": weight.sum(), "nan": float("nan")})
            run.log_timing(step, {"pid": os.getpid()})
            if step % EVERY == 0 or step == STEPS:
                run.save_checkpoint(step, {"weight": weight})
                if durable is not None:
                    durable.write_text(str(step))
        run.finish({"sum": weight.sum().item()})


def killed_child(root: Path, countdown: int) -> bool:
    """Whether the run ended before its `countdown`-th system call, at which it kills itself."""
    durable = root.with_suffix(".durable")
    pid = os.fork()
    if pid == 0:
        arm(countdown)
        work(root, durable)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0
        return True
    assert os.WTERMSIG(status) == signal.SIGKILL
    check_nothing_lost(root, durable)
    return False


def check_nothing_lost(root: Path, durable: Path) -> None:
    """Whatever save_checkpoint has returned from is still there, or something newer."""
    if durable.exists() and durable.read_text():
        loaded = RunDir.view(root).load_checkpoint()
        assert loaded is not None
        assert loaded[0] >= int(durable.read_text())


def arm(countdown: int) -> None:
    """Kill this process at its `countdown`-th call, writes after half of their bytes."""
    left = countdown

    def tick() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    def wrap(name: str) -> None:
        original = getattr(os, name)

        def wrapper(*args, **kwargs):
            if tick():
                if name == "write":
                    original(args[0], bytes(args[1])[: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        setattr(os, name, wrapper)

    for name in PATCHED:
        wrap(name)
    write_state = checkpoints._HashingFile.write

    def write_half(self, data):
        if tick():
            self.file.write(data[: len(data) // 2])
            self.file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return write_state(self, data)

    checkpoints._HashingFile.write = write_half


def everywhere(folder: Path, stride: int) -> int:
    """Kill a fresh run at every `stride`-th of its calls, then let it finish; number of kills."""
    kills = 0
    while True:
        root = folder / f"at-{1 + kills * stride}"
        if killed_child(root, 1 + kills * stride):
            return kills
        work(root)
        kills += 1


def again_and_again(folder: Path, seeds: int) -> int:
    """Kill one run many times at random calls until it is through; the number of kills."""
    kills = 0
    for seed in range(seeds):
        draw = random.Random(seed)
        while not killed_child(folder / f"seed-{seed}", draw.randint(1, 150)):
            kills += 1
    return kills


if __name__ == "__main__":
    # slow, and no part of what is tested: asking git and the package metadata, waiting for the disk
    manifest.describe_source = lambda: None
    manifest.describe_environment = dict
    os.fsync = lambda descriptor: None
    target, stride = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    work(target / "uninterrupted")
    kills = everywhere(target, stride) if stride else again_and_again(target, seeds=2)
    sys.stdout.write(str(kills))
