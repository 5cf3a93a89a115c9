"""`instructgpt loop run`: rounds one after the other; whatever was interrupted goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from instructgpt.config.loop import Loop
from instructgpt.disk import disk_errors
from instructgpt.errors import ConfigError, RunDirError
from instructgpt.evaluation.loop_report import write_loop_report
from instructgpt.loop.history import add_event, deciding
from instructgpt.loop.state import PHASES, has_begun
from instructgpt.pipeline.loop.check import check_loop
from instructgpt.pipeline.loop.collect import collect
from instructgpt.pipeline.loop.compare import compare, open_comparison
from instructgpt.pipeline.loop.demonstrate import demonstrate
from instructgpt.pipeline.loop.train import check_start_is_the_same, plan_start, train
from instructgpt.pipeline.loop.work import Waiting, Work
from instructgpt.pipeline.run import Observer, run_plan
from instructgpt.storage.atomic import atomic_write, clean_leftovers
from instructgpt.storage.lock import DirectoryLock

# What brings a round from each phase to the next; the last ends it.
_NEXT: dict[str, Callable[[Work], None]] = {
    "started": collect,
    "collected": demonstrate,
    "demonstrated": train,
    "trained": open_comparison,
    "opened": compare,
}
assert tuple(_NEXT) == PHASES


def run_loop(
    loop: Loop,
    root: Path,
    *,
    by: str,
    rounds: int | None = None,
    observer: Observer | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> str | None:
    """Go on until `rounds` (default: the settings') are over; None when they are, else the line
    that says for what people must do first.

    Errors: InstructGPTError of a stage or a setting; RunDirError when the loop is running already.
    """
    # stages are told apart by their settings, in which the loop's paths stand
    root = root.resolve()
    check_loop(loop)
    with _alone(root):
        work = Work(loop, root, 0, by, observer or Observer(), say)
        _begin(work)
        for number in range(1, (rounds or loop.config.rounds) + 1):
            waiting = _round(Work(loop, root, number, by, observer or Observer(), say))
            write_loop_report(root)
            if waiting is not None:
                return waiting
    return None


def _begin(work: Work) -> None:
    """Make the start, once, and serve its model."""
    if has_begun(work.root):
        check_start_is_the_same(work)
        return
    work.say("start: what is served first")
    plan = plan_start(work)
    run_plan(plan, observer=work.observer)
    model = work.path(work.config.served)
    if not model.is_dir():
        raise ConfigError(f"{work.loop.source}: served '{work.config.served}' was not made")
    with deciding(work.root):
        add_event(
            work.root,
            "begun",
            0,
            work.by,
            name=work.config.name,
            model=model.relative_to(work.root).as_posix(),
        )


def _round(work: Work) -> str | None:
    """Bring one round to its end. The line that says what it waits for, if it must."""
    state = work.state.rounds.get(work.number)
    if state is None:
        served = work.state.served
        work.note("started", served=served.path)
        work.say(f"round {work.number}: {served.name} is served")
    elif not state.ended:
        work.say(f"round {work.number} goes on after '{state.phase}'")
    # the settings as they are now: a round may be finished with others than it began with
    atomic_write(work.folder / "loop.yaml", work.loop.text)
    try:
        while not (state := work.state.rounds[work.number]).ended:
            after(work, state.phase)(work)
    except Waiting as waiting:
        return str(waiting)
    return None


def after(work: Work, phase: str) -> Callable[[Work], None]:
    """What comes after a phase. A rollback ends a comparison without a decision: it begins anew,
    against what is served now.
    """
    if phase == "opened" and work.state.comparison is None:
        return open_comparison
    return _NEXT[phase]


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One process at a time works on rounds; promoting and rolling back need not wait for it."""
    rounds = root / "rounds"
    _refuse_foreign(root)
    with disk_errors(rounds):
        rounds.mkdir(parents=True, exist_ok=True)
    lock = DirectoryLock(rounds)
    try:
        clean_leftovers(rounds)
        yield
    finally:
        lock.release()


def _refuse_foreign(root: Path) -> None:
    """Errors: RunDirError for a file, or a folder that holds something else than a loop."""
    if root.exists() and not root.is_dir():
        raise RunDirError(f"'{root}' is a file; choose a folder with --out")
    if root.exists() and not (root / "rounds").is_dir() and any(root.iterdir()):
        raise RunDirError(f"'{root}' exists and holds no loop; choose another folder with --out")
