"""Experiment trackers follow metrics.jsonl, each like a reader with a bookmark.

metrics.jsonl stays the truth. `trackers.json` in the run directory remembers for each tracker the
id of its run and how many rows it has been given. A resumed run writes the rows after its
checkpoint once more; those below the bookmark are not given again. A tracker that is named late,
or that failed for a while, is given what it has missed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from instructgpt.errors import RemoteError
from instructgpt.storage.atomic import atomic_write
from instructgpt.storage.metric_log import MetricLog

logger = logging.getLogger(__name__)

BOOKMARKS = "trackers.json"


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """What a tracker is told of a run: where it lies, what it is called, its settings."""

    root: Path
    project: str
    name: str
    stage: str
    config: Mapping[str, Any]


class Tracker(Protocol):
    """One open run of one tracker."""

    id: str
    """What finds the same run again."""
    failures: tuple[type[Exception], ...]
    """What `send` raises when the tracker, not the program, is at fault."""

    def send(self, step: int, numbers: Mapping[str, float]) -> None:
        """Record one row."""

    def close(self, finished: bool) -> None:
        """Let go of the run; `finished` says whether the stage came to its end."""


class Followers:
    """The trackers of one run directory; opened with the first row, so that no run stays empty."""

    def __init__(self, names: Sequence[str], run: TrackedRun, log: MetricLog) -> None:
        self.names = names
        self.run = run
        self.log = log
        self._path = run.root / BOOKMARKS
        self._open: dict[str, Tracker] = {}
        self._marks: dict[str, dict[str, Any]] = {}
        self._rows: int | None = None

    def follow(self, step: int, numbers: Mapping[str, float]) -> None:
        """A row has been appended to metrics.jsonl. Errors: RemoteError if a tracker won't open."""
        if self._rows is None:
            rows = self.log.read()
            self._rows = len(rows)
            self._open_all()
            for number, row in enumerate(rows, start=1):
                given = {name: value for name, value in row.items() if name != "step"}
                self._give(number, row["step"], given)
        else:
            self._rows += 1
            self._give(self._rows, step, numbers)

    def close(self, finished: bool) -> None:
        """Let every tracker finish its upload."""
        for tracker in self._open.values():
            tracker.close(finished)
        self._open.clear()

    def _open_all(self) -> None:
        from instructgpt.storage.tracker_sinks import open_tracker

        if self._path.exists():
            self._marks = json.loads(self._path.read_text(encoding="utf-8"))
        for name in self.names:
            mark = self._marks.setdefault(name, {"id": None, "rows": 0})
            self._open[name] = open_tracker(name, self.run, mark["id"])
            mark["id"] = self._open[name].id
        self._save()

    def _give(self, number: int, step: int, numbers: Mapping[str, float]) -> None:
        row = {f"{self.run.stage}/{name}": float(value) for name, value in numbers.items()}
        for name, tracker in list(self._open.items()):
            mark = self._marks[name]
            if mark["rows"] >= number:
                continue
            # The mark moves first: killed in between, a point is missing there, never doubled.
            mark["rows"] = number
            self._save()
            try:
                tracker.send(step, row)
            except tracker.failures as error:
                mark["rows"] = number - 1
                self._save()
                del self._open[name]
                logger.warning(
                    "%s no longer follows %s after step %d (%s); metrics.jsonl has every row, and "
                    "a run that is started again sends what is missing",
                    name,
                    self.run.root,
                    step,
                    " ".join(str(error).split())[:200],
                )

    def _save(self) -> None:
        atomic_write(self._path, json.dumps(self._marks, indent=2) + "\n", durable=False)


def cannot_open(name: str, error: Exception, remedy: str) -> RemoteError:
    """The error of a tracker that refuses from the start."""
    reason = " ".join(str(error).split())[:200]
    return RemoteError(f"{name} cannot be opened ({reason}); {remedy}, or leave out --track {name}")
