"""The one loop that drives every stage: log, checkpoint, evaluate, resume."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.profiler import record_function

from instructgpt.distributed.world import World
from instructgpt.progress import announce, progress
from instructgpt.storage.run_dir import RunDir
from instructgpt.training.profile import recorded


class Stage(Protocol):
    """An algorithm, one step at a time; it knows nothing of files, logs or cadence."""

    total_steps: int
    clock: PhaseClock

    @property
    def arithmetic(self) -> str:
        """What a step takes, and of how much: where the number of steps comes from."""

    def step(self, step: int) -> dict[str, float]:
        """Do step `step` (0-based) and return its metrics; deterministic given the state."""

    def evaluate(self, step: int) -> dict[str, float]:
        """Look at held-out data after `step` steps; must not change what training does."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse."""


class PhaseClock:
    """Seconds spent per phase (rollout, score, update, ...), and tokens worked on.

    What a phase waits for other processes is counted as `wait` and not in the phase.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.tokens = 0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time inside the block to `name`."""
        start, waited = time.perf_counter(), World.waited
        try:
            with record_function(name):  # a bar of its own in a trace
                yield
        finally:
            waited = World.waited - waited
            self._add(name, time.perf_counter() - start - waited)
            if waited:
                self._add("wait", waited)

    def _add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def take(self) -> dict[str, float]:
        """Seconds per phase and tokens since the last call."""
        taken = {**self.seconds, "tokens": float(self.tokens)}
        self.seconds, self.tokens = {}, 0
        return taken


def drive(
    stage: Stage,
    run: RunDir,
    world: World,
    *,
    name: str,
    checkpoint_every: int,
    eval_every: int,
) -> None:
    """Run `stage` to its last step, from its checkpoint if there is one.

    Order within a step: train, log, checkpoint, evaluate. The checkpoint comes before the
    evaluation, so an evaluation that fails loses nothing; a resumed run repeats the evaluation
    that was due at its checkpoint, so its logs equal those of an uninterrupted run.
    """
    done = _resume(stage, run, world)
    total = stage.total_steps
    if world.is_main:
        announce(f"steps     {total}: {stage.arithmetic}")
    with progress(name, total, unit="step", start=done) as bar, recorded(run) as step_done:
        while True:
            if done % eval_every == 0 or done == total:
                with stage.clock.phase("evaluate"):
                    held_out = stage.evaluate(done)
                if held_out:
                    run.log(done, held_out)
                bar.note(**held_out)
            if done == total:
                break
            metrics = stage.step(done)
            step_done()
            done += 1
            run.log(done, metrics)
            run.log_timing(done, stage.clock.take())
            bar.advance(1, **metrics)
            if done % checkpoint_every == 0 or done == total:
                _save(stage, run, world, done)
    run.log_timing(done, stage.clock.take())  # of the last checkpoint and evaluation
    if world.is_main:
        announce(time_table(run.read_timings(), run.seconds))


def time_table(timings: Sequence[Mapping[str, Any]], seconds: float) -> str:
    """Lines with the seconds and share of every phase, over all restarts of a run."""
    totals: dict[str, float] = {}
    for row in timings:
        for name, value in row.items():
            totals[name] = totals.get(name, 0.0) + value
    tokens = totals.pop("tokens", 0.0)
    totals.pop("step", None)
    totals["other"] = max(0.0, seconds - sum(totals.values()))
    lines = [
        f"{'' if number else 'time':<10}{name:<12}{value:>9.1f} s {value / seconds:>6.1%}"
        for number, (name, value) in enumerate(sorted(totals.items(), key=lambda item: -item[1]))
    ]
    return "\n".join([*lines, f"{'':<10}{tokens:,.0f} tokens, {tokens / seconds:,.0f} a second"])


def _save(stage: Stage, run: RunDir, world: World, done: int) -> None:
    with stage.clock.phase("checkpoint"):
        run.save_checkpoint(done, {"stage": stage.state_dict(), **_rng_states()})
        world.barrier()


def _rng_states() -> dict[str, Tensor]:
    """Of dropout; everything else draws from its own. A GPU draws where it computes."""
    states = {"torch_rng": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        states["cuda_rng"] = torch.cuda.get_rng_state()
    return states


def _resume(stage: Stage, run: RunDir, world: World) -> int:
    checkpoint = run.load_checkpoint()
    world.barrier()
    if checkpoint is None:
        torch.manual_seed(run.manifest["seed"])
        return 0
    step, state = checkpoint
    stage.load_state_dict(state["stage"])
    torch.set_rng_state(state["torch_rng"])
    if "cuda_rng" in state and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(state["cuda_rng"])
    return step
