"""Progress of long loops: a bar on a terminal and in a notebook, else a line every ten seconds.

Library code reports progress unconditionally and stays silent; the command line switches the
display on with `show_progress`, in the first process only.

    with progress("PPO", total=40, unit="it") as bar:
        for step in range(40):
            bar.advance(1, reward=0.31, kl=2.4)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

PLAIN_INTERVAL_SECONDS = 10.0
# PPO has two dozen metrics; all of them are in metrics.jsonl.
_NUMBERS_SHOWN = 6
_shown = False


class Bar(Protocol):
    """What a loop sees of its progress display."""

    def advance(self, n: int = 1, **numbers: float) -> None:
        """Count `n` more units as done and show `numbers` beside them."""

    def note(self, **numbers: float) -> None:
        """Show `numbers` without counting anything, such as those of an evaluation."""


def show_progress(enabled: bool = True) -> None:
    """Switch the display on or off for this process; it starts off."""
    global _shown
    _shown = enabled


def announce(text: str) -> None:
    """One line on standard error, beside the displays; silent where they are."""
    if _shown:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


@contextmanager
def progress(name: str, total: int | None, unit: str = "it", start: int = 0) -> Iterator[Bar]:
    """A display of one loop of `total` units (None: unknown); a resumed loop begins at `start`."""
    if not _shown:
        yield _SilentBar()
    elif sys.stderr.isatty() or _notebook_has_widgets():
        with _rich_columns(unit) as columns:
            yield _RichBar(columns, columns.add_task(name, total=total, completed=start, note=""))
            columns.refresh()  # in a notebook rich would leave the state of the last tick
    else:
        plain = _PlainBar(name, total, unit, start)
        yield plain
        plain.finish()


def format_numbers(numbers: dict[str, float]) -> str:
    """`loss 1.234  lr 1e-05  rows 12345`: four significant digits each, counts in full."""
    shown = {k: f"{v:,}" if isinstance(v, int) else f"{v:.4g}" for k, v in numbers.items()}
    return "  ".join(f"{name} {value}" for name, value in shown.items())


def format_seconds(seconds: float) -> str:
    """`0:07`, `12:34` or `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _notebook_has_widgets() -> bool:
    """Whether rich can draw in the notebook that runs this; without ipywidgets it only warns."""
    from rich.console import Console

    if not Console(stderr=True).is_jupyter:
        return False
    try:
        import ipywidgets  # noqa: F401
    except ImportError:
        return False
    return True


def _first(numbers: dict[str, float]) -> dict[str, float]:
    return dict(list(numbers.items())[:_NUMBERS_SHOWN])


class _SilentBar:
    def advance(self, n: int = 1, **numbers: float) -> None:
        pass

    def note(self, **numbers: float) -> None:
        pass


class _PlainBar:
    def __init__(self, name: str, total: int | None, unit: str, start: int) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.done = self.first = start
        self.started = self.written = monotonic()
        self.numbers: dict[str, float] = {}

    def advance(self, n: int = 1, **numbers: float) -> None:
        self.done += n
        self.numbers.update(numbers)
        if monotonic() - self.written >= PLAIN_INTERVAL_SECONDS:
            self.write()

    def note(self, **numbers: float) -> None:
        self.numbers.update(numbers)

    def finish(self) -> None:
        if self.done > self.first:
            self.write()

    def write(self) -> None:
        self.written = monotonic()
        elapsed = max(self.written - self.started, 1e-9)
        rate = (self.done - self.first) / elapsed
        count = f"{self.done}" if self.total is None else f"{self.done}/{self.total}"
        parts = [f"{self.name} {count} {self.unit}", f"{rate:.3g} {self.unit}/s"]
        if self.total is not None and self.done < self.total and rate > 0:
            parts.append(f"{format_seconds((self.total - self.done) / rate)} left")
        else:
            parts.append(f"{format_seconds(elapsed)} passed")
        if self.numbers:
            parts.append(format_numbers(_first(self.numbers)))
        sys.stderr.write("  ".join(parts) + "\n")
        sys.stderr.flush()


class _RichBar:
    def __init__(self, columns: RichProgress, task: TaskID) -> None:
        self.columns, self.task = columns, task
        self.numbers: dict[str, float] = {}

    def advance(self, n: int = 1, **numbers: float) -> None:
        self.columns.advance(self.task, n)
        self.note(**numbers)

    def note(self, **numbers: float) -> None:
        self.numbers.update(numbers)
        self.columns.update(self.task, note=format_numbers(_first(self.numbers)))


def _rich_columns(unit: str) -> RichProgress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class RateColumn(ProgressColumn):
        """Units per second since the start of the display."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.3g} {unit}/s")

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=not console.is_jupyter,
    )
