"""The directory of one stage's run: the unit of truth, safe against kill -9 at any moment.

config.yaml      the resolved settings; can be run again
manifest.json    stage, settings, seed, parents, environment, source revision, fingerprint
metrics.jsonl    deterministic numbers only: a resumed run writes the same bytes
trackers.json    how far each experiment tracker has followed metrics.jsonl, if any does
timings.jsonl    everything that a clock decides
checkpoints/     what the run continues from
tokens/          the data as token ids, while the run is not finished
model/           the result of a training stage, a plain Hugging Face directory
done.json        written last: fingerprint, summary, seconds
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from instructgpt.disk import disk_errors
from instructgpt.errors import RunDirError
from instructgpt.storage.atomic import clean_leftovers
from instructgpt.storage.checkpoints import Checkpoints
from instructgpt.storage.environment import utc_now
from instructgpt.storage.lock import LOCK_NAME, DirectoryLock
from instructgpt.storage.manifest import (
    DONE,
    MANIFEST,
    describe_identity,
    new_manifest,
    read_json,
    read_manifest,
    refuse_foreign,
    start_or_resume,
    write_json,
)
from instructgpt.storage.metric_log import MetricLog, finite
from instructgpt.storage.trackers import Followers, TrackedRun

TOKENS = "tokens"


class RunDir:
    """One run directory; made by `RunDir.open` to work in it, or by `RunDir.view` to read it.

    Only a run opened with `writes=True` changes anything on disk; on others `log`,
    `save_checkpoint` and `finish` do nothing, so that every rank of a distributed run can execute
    the same lines. `profiled`: whether a few steps are to be recorded.
    """

    def __init__(
        self,
        root: Path,
        manifest: dict[str, Any],
        lock: DirectoryLock | None = None,
        keep: int = 2,
    ) -> None:
        self.root = root
        self.manifest = manifest
        self.checkpoints = Checkpoints(root / "checkpoints", keep)
        self._lock = lock
        self._metrics = MetricLog(root / "metrics.jsonl")
        self._timings = MetricLog(root / "timings.jsonl")
        self._opened = monotonic()
        self._seconds_before = 0.0
        self._must_load = False
        self._followers: Followers | None = None
        self.profiled = False

    @classmethod
    def open(
        cls,
        path: str | Path,
        stage: str,
        config: Mapping[str, Any],
        seed: int,
        parents: Mapping[str, str] | None = None,
        *,
        keep: int = 2,
        writes: bool = True,
    ) -> RunDir:
        """Start a run, continue an unfinished one, or find a finished one (`is_done`).

        `config` holds JSON values; `parents` maps each input to its fingerprint; `keep` is the
        number of checkpoints that stay. Pass `writes=False` on every rank but the first: no
        lock, no writing. Errors: RunDirError when another process holds the directory, when it
        belongs to another stage or to other settings, or is not a run directory at all.
        """
        root = Path(path)
        identity = describe_identity(stage, config, seed, parents or {})
        if not writes:
            return cls(root, new_manifest(identity), keep=keep)
        with disk_errors(root):
            root.mkdir(parents=True, exist_ok=True)
        lock = DirectoryLock(root)
        try:
            clean_leftovers(root)
            run = cls(root, start_or_resume(root, identity), lock, keep)
            run._prepare_logs()
        except BaseException:
            lock.release()
            raise
        return run

    @classmethod
    def view(cls, path: str | Path) -> RunDir:
        """Read a run, finished or not, without locking it. Errors: RunDirError if it is none."""
        return cls(Path(path), read_manifest(Path(path)))

    @staticmethod
    def discard(path: str | Path) -> None:
        """Empty a run directory so that its stage starts again; nothing if it does not exist.

        Errors: RunDirError when it is in use or not a run directory.
        """
        root = Path(path)
        if not root.exists():
            return
        refuse_foreign(root)
        lock = DirectoryLock(root)
        try:
            # killed halfway, it must look neither finished nor like somebody else's directory
            order = {DONE: 0, MANIFEST: 2}
            entries = [entry for entry in root.iterdir() if entry.name != LOCK_NAME]
            for entry in sorted(entries, key=lambda entry: order.get(entry.name, 1)):
                with disk_errors(entry):
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        finally:
            lock.release()

    def close(self) -> None:
        """Let other processes in; an unfinished run can be continued later."""
        if self._followers is not None:
            self._followers.close(self.is_done)
            self._followers = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> RunDir:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def writes(self) -> bool:
        """Whether this object may change the directory."""
        return self._lock is not None

    @property
    def stage(self) -> str:
        """The stage's stem."""
        return str(self.manifest["stage"])

    @property
    def config(self) -> dict[str, Any]:
        """The resolved settings."""
        return dict(self.manifest["config"])

    @property
    def fingerprint(self) -> str:
        """What children record as their parent: hex SHA-256 of stage, settings, seed, parents."""
        return str(self.manifest["fingerprint"])

    @property
    def done(self) -> dict[str, Any] | None:
        """`{fingerprint, summary, seconds, finished}` of a finished run, else None."""
        path = self.path(DONE)
        return read_json(path) if path.exists() else None

    @property
    def is_done(self) -> bool:
        """Whether the run is finished."""
        return self.path(DONE).exists()

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of the work that survives, over all restarts.

        What a kill threw away (the steps after the last checkpoint) is not counted.
        """
        done = self.done
        if done is not None:
            return float(done["seconds"])
        return self._seconds_before + monotonic() - self._opened

    def path(self, *parts: str) -> Path:
        """A path inside the run directory; nothing is created."""
        return self.root.joinpath(*parts)

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Append a row of deterministic numbers to metrics.jsonl; nothing that a clock decides.

        NaN and infinities are written as null and named in the row's `nonfinite`.
        """
        self._append(self._metrics, step, metrics)
        if self._followers is not None:
            self._followers.follow(step, metrics)

    def track(self, trackers: Sequence[str], project: str) -> None:
        """Have experiment trackers follow metrics.jsonl, opened with its first row; rank 0 only."""
        if trackers and self.writes:
            run = TrackedRun(self.root, project, self.root.name, self.stage, self.config)
            self._followers = Followers(trackers, run, self._metrics)

    def log_timing(self, step: int, values: Mapping[str, Any]) -> None:
        """Append a row of seconds, rates or memory to timings.jsonl."""
        self._append(self._timings, step, values)

    def read_metrics(self) -> list[dict[str, Any]]:
        """All rows of metrics.jsonl, `{"step": int, NAME: number, ...}`."""
        return self._metrics.read()

    def read_timings(self) -> list[dict[str, Any]]:
        """All rows of timings.jsonl."""
        return self._timings.read()

    def save_checkpoint(self, step: int, state: dict[str, Any]) -> None:
        """Record `state` (tensors, numbers, texts, None, lists, tuples, dicts) to continue from.

        Older checkpoints are removed only when this one is durable. Errors: TypeError for state
        that could not be loaded again; RunDirError when the disk is full or refuses.
        """
        if not self.writes:
            return
        self._refuse_finished()
        facts = {
            "metrics_bytes": self._metrics.sync(),
            "timings_bytes": self._timings.sync(),
            "seconds": self.seconds,
        }
        self.checkpoints.save(step, state, facts)

    def load_checkpoint(self) -> tuple[int, dict[str, Any]] | None:
        """(step, state) to continue from, or None at the start; tensors are on the CPU.

        The logs are cut back to what they were when the checkpoint was made, so that the rows
        written after it are not there twice. A damaged checkpoint is passed over with a warning.
        Errors: CheckpointError when all are damaged.
        """
        checkpoint = self.checkpoints.load(warn=self.writes)
        if checkpoint is None:
            return None
        if self.writes and not self.is_done:
            self._cut(self._metrics, checkpoint.facts["metrics_bytes"])
            self._cut(self._timings, checkpoint.facts["timings_bytes"])
            self.checkpoints.prune()
        self._seconds_before = float(checkpoint.facts["seconds"])
        self._must_load = False
        return checkpoint.step, checkpoint.state

    def record_environment(self, **facts: Any) -> None:
        """Add facts that only the running stage knows (device, dtype) to the manifest."""
        environment = {**self.manifest["environment"], **facts}
        self.manifest = {**self.manifest, "environment": environment}
        if self.writes:
            write_json(self.path(MANIFEST), self.manifest)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Declare the run finished with `summary` (JSON values; NaN becomes null)."""
        if not self.writes:
            return
        self._refuse_finished()
        self._metrics.sync()
        self._timings.sync()
        done = {
            "fingerprint": self.fingerprint,
            "summary": finite(summary),
            "seconds": self.seconds,
            "finished": utc_now(),
        }
        write_json(self.path(DONE), done)
        shutil.rmtree(self.path(TOKENS), ignore_errors=True)  # nobody reads a finished run's

    def _prepare_logs(self) -> None:
        """Without a checkpoint the work starts again, so rows of a killed attempt must go."""
        if self.is_done:
            return
        self._must_load = bool(self.checkpoints.steps())
        if not self._must_load:
            self._metrics.cut(0)
            self._timings.cut(0)

    def _append(self, log: MetricLog, step: int, numbers: Mapping[str, Any]) -> None:
        if not self.writes:
            return
        self._refuse_finished()
        if self._must_load:
            raise RuntimeError("a run with checkpoints must load_checkpoint() before it logs")
        log.append(step, numbers)

    def _cut(self, log: MetricLog, length: int) -> None:
        if log.length() < length:
            raise RunDirError(
                f"'{log.path}' is shorter than when the last checkpoint was made; restore it, or "
                f"remove '{self.root}' to start this stage again"
            )
        log.cut(length)

    def _refuse_finished(self) -> None:
        if self.is_done:
            raise RunDirError(f"'{self.root}' is finished; remove it to run its stage again")
