"""Run a recipe's stages in order, or one stage alone; a killed run goes on where it was."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instructgpt.config.load import load_config
from instructgpt.config.recipe import load_recipe
from instructgpt.config.trackers import check_trackers
from instructgpt.data.problems import Collected, collect_problems
from instructgpt.disk import disk_errors
from instructgpt.pipeline.plan import (
    Action,
    Plan,
    PlannedStage,
    decide,
    outside_inputs,
    plan_recipe,
    select_stages,
    sibling_runs,
)
from instructgpt.pipeline.stages import Stage, find_stage
from instructgpt.storage.lock import DirectoryLock
from instructgpt.storage.run_dir import RunDir

if TYPE_CHECKING:
    from instructgpt.config.base import Config
    from instructgpt.distributed.world import World


_PROBLEMS_NAMED = 20


@dataclass(frozen=True)
class Outcome:
    """A finished stage: what was done to it, its run directory, seconds and summary."""

    name: str
    stem: str
    action: str
    path: Path
    seconds: float
    summary: dict[str, Any]


class Observer:
    """Hears what a run does; the command line prints it, and this one keeps silent."""

    def skipped(self, outcome: Outcome, why: str) -> None:
        """A stage is finished already."""

    def starting(self, name: str, stem: str, action: Action) -> None:
        """A stage begins, resumes or begins again."""

    def finished(self, outcome: Outcome) -> None:
        """A stage has ended well."""


def run_recipe(
    recipe: str | Path,
    root: str | Path | None = None,
    flags: Sequence[str] = (),
    *,
    until: str | None = None,
    start: str | None = None,
    track: Sequence[str] = (),
    profile: bool = False,
    observer: Observer | None = None,
) -> list[Outcome]:
    """Run the stages of a recipe file below `root` (default: runs/NAME); what is done is skipped.

    `flags` override settings ("sft.optim.lr=1e-5"); `until` is the last stage, and everything
    from `start` on is done again; `track` names trackers beside the recipe's own;
    `profile` records a few steps of each training stage. A stage whose settings or inputs changed
    is done again too; its old directory moves to ROOT/stale. Errors: InstructGPTError of the stage
    or the settings.
    """
    loaded = load_recipe(Path(recipe))
    plan = plan_recipe(loaded, Path(root or Path("runs", loaded.name)), flags)
    return run_plan(plan, until=until, start=start, track=track, profile=profile, observer=observer)


def run_plan(
    plan: Plan,
    *,
    until: str | None = None,
    start: str | None = None,
    track: Sequence[str] = (),
    profile: bool = False,
    observer: Observer | None = None,
) -> list[Outcome]:
    """`run_recipe` for a plan that is already made."""
    observer = observer or Observer()
    trackers = check_trackers([*plan.trackers, *track], "--track")
    plan = replace(plan, trackers=trackers, profile=profile)
    chosen = select_stages(plan, until)
    actions = decide(plan, start)
    if all(actions[planned.name].kind == "skip" for planned in chosen):
        return [_skip(planned, observer) for planned in chosen]
    with _world() as world, _root_lock(plan.root, world.is_main):
        actions = decide(plan, start)  # another process may have finished before we got the lock
        world.barrier()  # every rank has looked at the disk before the first one changes it
        return [
            _skip(planned, observer)
            if actions[planned.name].kind == "skip"
            else _execute(plan, planned, actions[planned.name], world, observer)
            for planned in chosen
        ]


def run_stage(
    stem: str,
    out: str | Path,
    files: Sequence[Path] = (),
    flags: Sequence[str] = (),
    observer: Observer | None = None,
    *,
    track: Sequence[str] = (),
    profile: bool = False,
) -> Outcome:
    """Run one stage in directory `out`, with settings from YAML `files` and `flags`.

    `track` names experiment trackers, `profile` records a few steps. A finished run with the same
    settings and inputs is skipped, an interrupted one goes on. Errors: RunDirError when
    `out` holds a run with other settings.
    """
    stage = find_stage(stem)
    config = load_config(stage.config_class(), files, flags)
    return run_config(stage, config, out, observer, track=track, profile=profile)


def run_config(
    stage: Stage,
    config: Config,
    out: str | Path,
    observer: Observer | None = None,
    *,
    track: Sequence[str] = (),
    profile: bool = False,
) -> Outcome:
    """`run_stage` for settings that are already checked."""
    observer = observer or Observer()
    if stage.reads_all:
        root = getattr(config, "root", None) or Path(out).parent
        parents = sibling_runs(Path(root), but=Path(out))
    else:
        parents = outside_inputs(config)
    seed = getattr(config, "seed", 0)
    planned = PlannedStage(Path(out).name, stage, config, seed, parents, Path(out))
    trackers = check_trackers(track, "--track")
    plan = Plan("instructgpt", planned.path.parent, [planned], trackers, profile)
    action = decide(plan)[planned.name]
    if action.kind == "skip":
        return _skip(planned, observer)
    if action.kind == "again":
        # Opening the directory refuses, and says which settings differ: `out` was named by hand.
        action = Action("resume", action.why)
    with _world() as world:
        world.barrier()
        return _execute(plan, planned, action, world, observer)


def _skip(planned: PlannedStage, observer: Observer) -> Outcome:
    outcome = _outcome(planned, RunDir.view(planned.path), "skip")
    observer.skipped(outcome, "done, unchanged")
    return outcome


def _execute(
    plan: Plan, planned: PlannedStage, action: Action, world: World, observer: Observer
) -> Outcome:
    if world.is_main:
        observer.starting(planned.name, planned.stage.stem, action)
        if action.kind == "again":
            _set_aside(planned.path)
    world.barrier()
    with RunDir.open(
        planned.path,
        planned.stage.stem,
        planned.settings,
        planned.seed,
        planned.parents,
        writes=world.is_main,
    ) as run:
        world.barrier()  # the run directory exists, and a killed write in it is cleaned up
        run.track(plan.trackers, plan.name)
        run.profiled = plan.profile and planned.stage.has_steps
        if world.is_main or planned.stage.shares_work:
            with collect_problems() as collected:
                summary = planned.stage.function()(planned.runnable_config(), run)
            run.finish({**summary, **_rows_left_out(collected)})
        world.barrier()
        outcome = _outcome(planned, run, action.kind)
    if world.is_main:
        observer.finished(outcome)
    return outcome


def _rows_left_out(collected: Collected) -> dict[str, Any]:
    """What a stage's data lacked, for its summary; nothing where all of it was used."""
    lines = collected.lines()
    if not lines:
        return {}
    return {"rows_left_out": collected.rows_left_out, "data_problems": lines[:_PROBLEMS_NAMED]}


def _outcome(planned: PlannedStage, run: RunDir, action: str) -> Outcome:
    done = run.done or {}
    return Outcome(
        planned.name,
        planned.stage.stem,
        action,
        planned.path,
        float(done.get("seconds", 0.0)),
        dict(done.get("summary", {})),
    )


def _set_aside(path: Path) -> None:
    """Move a run directory to `stale` beside it, under the first free number; nothing is lost."""
    lock = DirectoryLock(path)
    try:
        stale = path.parent / "stale"
        with disk_errors(stale):
            stale.mkdir(exist_ok=True)
            number = 1
            while (stale / f"{path.name}-{number}").exists():
                number += 1
            os.rename(path, stale / f"{path.name}-{number}")
    finally:
        lock.release()


@contextmanager
def _world() -> Iterator[World]:
    from instructgpt.distributed.world import World

    world = World.from_launcher()
    try:
        yield world
    finally:
        world.close()


@contextmanager
def _root_lock(root: Path, is_main: bool) -> Iterator[None]:
    """One recipe run at a time below `root`."""
    if not is_main:
        yield
        return
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
    lock = DirectoryLock(root)
    try:
        yield
    finally:
        lock.release()
