"""The run directories of a recipe, read for the report: nothing here opens a model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instructgpt.errors import DataError, RunDirError
from instructgpt.storage.run_dir import RunDir

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StageRun:
    """One stage of the recipe: what it is, what it measured, how long it took.

    `done` is None while the stage is unfinished.
    """

    name: str
    path: Path
    manifest: dict[str, Any]
    metrics: list[Row]
    timings: list[Row]
    done: dict[str, Any] | None

    @property
    def stem(self) -> str:
        """Which stage this is: pretrain, sft, label, ..."""
        return str(self.manifest["stage"])

    @property
    def fingerprint(self) -> str:
        return str(self.manifest["fingerprint"])

    @property
    def parents(self) -> dict[str, str]:
        """Input -> its fingerprint."""
        return dict(self.manifest["parents"])

    @property
    def summary(self) -> dict[str, Any]:
        """What the finished stage reported; empty while it is unfinished."""
        return dict(self.done["summary"]) if self.done else {}

    @property
    def seconds(self) -> float | None:
        return float(self.done["seconds"]) if self.done else None

    @property
    def tokens(self) -> int | None:
        """Tokens worked on, where the stage counts them."""
        counted = [row["tokens"] for row in self.timings if "tokens" in row]
        return int(sum(counted)) if counted else None

    @property
    def tokens_per_second(self) -> float | None:
        if not self.tokens or not self.seconds:
            return None
        return self.tokens / self.seconds

    def phases(self) -> dict[str, float]:
        """Seconds per phase over the whole run, and what no phase accounts for (`other`)."""
        totals: dict[str, float] = {}
        for row in self.timings:
            for name, value in row.items():
                if name not in ("step", "tokens") and isinstance(value, int | float):
                    totals[name] = totals.get(name, 0.0) + value
        rest = (self.seconds or 0.0) - sum(totals.values())
        return {**totals, "other": max(rest, 0.0)} if self.seconds is not None else totals

    def column(self, name: str) -> tuple[list[float], list[float]]:
        """(steps, values) of a metric, in the rows that have it."""
        rows = [row for row in self.metrics if row.get(name) is not None]
        return [float(row["step"]) for row in rows], [float(row[name]) for row in rows]


def read_stage_runs(root: Path) -> list[StageRun]:
    """Every run directory directly under `root`, in the order in which they were started.

    Errors: DataError when there are none.
    """
    if not root.is_dir():
        raise DataError(f"'{root}' is not a directory of runs")
    runs = [_read(path) for path in sorted(root.iterdir()) if (path / "manifest.json").is_file()]
    if not runs:
        raise DataError(f"'{root}' holds no run directory (none with a manifest.json)")
    return sorted(runs, key=lambda run: (str(run.manifest.get("started", "")), run.name))


def of_stem(runs: Sequence[StageRun], stem: str) -> list[StageRun]:
    """Finished runs of one kind of stage, oldest first."""
    return [run for run in runs if run.stem == stem and run.done is not None]


def read_evaluation(path: Path) -> dict[str, Any]:
    """The numbers of an `evaluate` stage. Errors: DataError when it has written none."""
    file = path / "evaluation.json"
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"'{path}' has no evaluation.json; finish its `evaluate` stage") from error
    except ValueError as error:
        raise DataError(f"{file}: not JSON ({error})") from error
    return found


def stage_inputs(run: StageRun, runs: Sequence[StageRun]) -> Iterator[tuple[str, str, str | None]]:
    """(input, fingerprint, name of the stage that made it or None) for every parent of `run`."""
    by_fingerprint = {other.fingerprint: other.name for other in runs}
    names = {other.name for other in runs}
    for source, fingerprint in run.parents.items():
        made_by = by_fingerprint.get(fingerprint)
        first = source.lstrip("@").split("/")[0]
        yield source, fingerprint, made_by or (first if first in names else None)


def _read(path: Path) -> StageRun:
    view = RunDir.view(path)
    missing = {"stage", "fingerprint", "parents"} - view.manifest.keys()
    if missing:
        raise RunDirError(f"'{path}/manifest.json' lacks {', '.join(sorted(missing))}")
    return StageRun(
        path.name, path, view.manifest, view.read_metrics(), view.read_timings(), view.done
    )
