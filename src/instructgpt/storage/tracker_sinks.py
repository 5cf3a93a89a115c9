"""One class per experiment tracker; each package is imported when its tracker is opened."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from instructgpt.disk import disk_errors
from instructgpt.errors import RunDirError
from instructgpt.storage.trackers import TrackedRun, Tracker, cannot_open


def open_tracker(name: str, run: TrackedRun, earlier_id: str | None) -> Tracker:
    """Tracker `name` with a new run, or with the run of `earlier_id` continued.

    Errors: RemoteError when the tracker refuses, for want of a login or a server.
    """
    return _SINKS[name](run, earlier_id)


class TensorBoardTracker:
    """Event files in `tensorboard/` of the run directory, written through after every row."""

    failures: tuple[type[Exception], ...] = (RunDirError,)

    def __init__(self, run: TrackedRun, earlier_id: str | None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.id = "tensorboard"
        self._folder = run.root / self.id
        with disk_errors(self._folder):
            self._writer = SummaryWriter(log_dir=str(self._folder))

    def send(self, step: int, numbers: Mapping[str, float]) -> None:
        with disk_errors(self._folder):
            for name, value in numbers.items():
                self._writer.add_scalar(name, value, step)
            self._writer.flush()

    def close(self, finished: bool) -> None:
        self._writer.close()


class WandbTracker:
    """Weights & Biases; where its runs go is decided by `wandb login` and WANDB_MODE."""

    def __init__(self, run: TrackedRun, earlier_id: str | None) -> None:
        import wandb  # type: ignore[import-not-found, unused-ignore]

        self.failures: tuple[type[Exception], ...] = (wandb.errors.Error,)
        self.id = earlier_id or secrets.token_hex(4)
        try:
            self._run = wandb.init(
                project=run.project,
                name=run.name,
                id=self.id,
                resume="allow",
                config=dict(run.config),
                dir=str(run.root),
                reinit="create_new",
            )
        except wandb.errors.Error as error:
            raise cannot_open("wandb", error, "run `wandb login` or set WANDB_MODE=offline") from (
                error
            )

    def send(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)


class MlflowTracker:
    """MLflow, at MLFLOW_TRACKING_URI or where MLflow itself chooses."""

    def __init__(self, run: TrackedRun, earlier_id: str | None) -> None:
        import mlflow  # type: ignore[import-not-found, unused-ignore]

        self.failures: tuple[type[Exception], ...] = (mlflow.exceptions.MlflowException,)
        self._entities = mlflow.entities
        try:
            self._client = mlflow.MlflowClient()
            self.id = earlier_id or self._create(run)
            self._client.update_run(self.id, status="RUNNING")
        except mlflow.exceptions.MlflowException as error:
            raise cannot_open("mlflow", error, "check MLFLOW_TRACKING_URI") from error

    def _create(self, run: TrackedRun) -> str:
        experiment = self._client.get_experiment_by_name(run.project)
        where = experiment.experiment_id if experiment else None
        where = where or self._client.create_experiment(run.project)
        created: str = self._client.create_run(where, run_name=run.name).info.run_id
        params = [self._entities.Param(key, str(value)) for key, value in _flat(run.config)]
        self._client.log_batch(created, params=params)
        return created

    def send(self, step: int, numbers: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        rows = [self._entities.Metric(name, value, now, step) for name, value in numbers.items()]
        self._client.log_batch(self.id, metrics=rows)

    def close(self, finished: bool) -> None:
        self._client.set_terminated(self.id, "FINISHED" if finished else "KILLED")


class TrackioTracker:
    """trackio, in its local database; a name is a run there, so ours carries a random end."""

    failures: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, run: TrackedRun, earlier_id: str | None) -> None:
        import trackio  # type: ignore[import-not-found, unused-ignore]

        self.id = earlier_id or f"{run.name}-{secrets.token_hex(3)}"
        self._run = trackio.init(
            run.project, name=self.id, config=dict(run.config), resume="allow", embed=False
        )

    def send(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self, finished: bool) -> None:
        self._run.finish()


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


_SINKS: dict[str, Callable[[TrackedRun, str | None], Tracker]] = {
    "tensorboard": TensorBoardTracker,
    "wandb": WandbTracker,
    "mlflow": MlflowTracker,
    "trackio": TrackioTracker,
}
