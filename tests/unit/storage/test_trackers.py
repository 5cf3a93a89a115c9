"""Trackers are given every row of metrics.jsonl once, whatever happens to the run meanwhile.

TensorBoard is the real one, read back with its own reader. The others are fakes whose functions
take exactly what wandb 0.31, MLflow 3.17 and trackio 0.43 take.
"""

from __future__ import annotations

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest

from instructgpt.config.recipe import load_recipe
from instructgpt.config.trackers import TRACKERS, check_trackers
from instructgpt.errors import ConfigError, RemoteError
from instructgpt.storage.run_dir import RunDir

CONFIG = {"lr": 0.5, "optim": {"steps": 3}}
# A kill after step 4 with the checkpoint of step 2: steps 3 and 4 are computed a second time.
ALL = [(step, {"ppo/loss": 1 / step}) for step in range(1, 7)]


def _train(root, trackers, *, until, start=0, writes=True, total=6):
    """Log loss = 1 / step up to `until`, a checkpoint at step 2; finished at `total`."""
    with RunDir.open(root, "ppo", CONFIG, seed=0, writes=writes) as run:
        run.track(trackers, "project")
        found = run.load_checkpoint()
        done = found[0] if found else start
        while done < until:
            done += 1
            run.log(done, {"loss": 1 / done})
            if done == 2:
                run.save_checkpoint(done, {})
        if done == total:
            run.finish({})


def _interrupted(root, *trackers):
    _train(root, trackers, until=4)
    _train(root, trackers, until=6)
    rows = [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]


def test_tensorboard_has_every_step_once_after_a_resumption(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _interrupted(tmp_path / "run", "tensorboard")
    reader = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert reader.Tags()["scalars"] == ["ppo/loss"]
    events = reader.Scalars("ppo/loss")
    assert [event.step for event in events] == [1, 2, 3, 4, 5, 6]
    assert [event.value for event in events] == pytest.approx([1 / n for n in range(1, 7)])


def test_a_tracker_that_is_named_late_is_given_what_it_missed(tmp_path, wandb):
    _train(tmp_path / "run", [], until=4)
    _train(tmp_path / "run", ["wandb"], until=6)
    assert wandb.rows == ALL


def test_wandb_continues_the_same_run(tmp_path, wandb):
    _interrupted(tmp_path / "run", "wandb")
    assert wandb.rows == ALL
    assert len({opened["id"] for opened in wandb.opened}) == 1
    assert [opened["resume"] for opened in wandb.opened] == ["allow", "allow"]
    assert wandb.opened[0]["project"] == "project"
    assert wandb.opened[0]["config"] == CONFIG
    assert wandb.finished == [1, 0]


def test_mlflow_continues_the_same_run(tmp_path, mlflow):
    _interrupted(tmp_path / "run", "mlflow")
    assert mlflow.rows == ALL
    assert mlflow.created == ["run"]
    assert mlflow.params == {"lr": "0.5", "optim.steps": "3"}
    assert mlflow.statuses == ["RUNNING", "KILLED", "RUNNING", "FINISHED"]


def test_trackio_continues_the_same_run(tmp_path, trackio):
    _interrupted(tmp_path / "run", "trackio")
    assert trackio.rows == ALL
    assert len(set(trackio.names)) == 1
    assert trackio.names[0].startswith("run-")
    assert trackio.finished == 2


def test_one_tracker_failing_stops_neither_the_run_nor_the_others(tmp_path, wandb, trackio, caplog):
    wandb.fail_at = 3
    _train(tmp_path / "run", ["wandb", "trackio"], until=4)
    assert "wandb no longer follows" in caplog.text
    assert wandb.rows == ALL[:2]
    assert trackio.rows == ALL[:4]
    wandb.fail_at = None
    _train(tmp_path / "run", ["wandb", "trackio"], until=6)
    assert wandb.rows == ALL
    assert trackio.rows == ALL


def test_a_tracker_that_cannot_be_opened_is_one_line_with_a_remedy(tmp_path, wandb):
    wandb.refuses = True
    with pytest.raises(RemoteError, match=r"not logged in.*wandb login.*--track wandb"):
        _train(tmp_path / "run", ["wandb"], until=1)


def test_only_the_first_rank_reports(tmp_path, wandb):
    _train(tmp_path / "run", ["wandb"], until=4, writes=False)
    assert wandb.opened == []


def test_a_run_that_logs_nothing_opens_nothing(tmp_path, wandb):
    _train(tmp_path / "run", ["wandb"], until=0, total=0)
    assert wandb.opened == []
    assert not (tmp_path / "run" / "trackers.json").exists()


def test_a_missing_package_is_named_with_its_pip_line(monkeypatch):
    for name, line in TRACKERS.items():
        monkeypatch.setattr("instructgpt.config.trackers.find_spec", lambda name: None)
        with pytest.raises(ConfigError, match=r"is not installed; pip install") as caught:
            check_trackers([name], "--track")
        assert line in str(caught.value)


def test_a_name_that_is_none_gets_a_hint():
    with pytest.raises(ConfigError, match=r"--track: .*'tensorbord'; did you mean 'tensorboard'"):
        check_trackers(["tensorbord"], "--track")


def test_a_recipe_names_its_trackers_once_for_all_stages(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("trackers: [tensorboard, tensorboard]\nstages: {world: {stage: microworld}}\n")
    assert load_recipe(path).trackers == ("tensorboard",)
    path.write_text("trackers: tensorboard\nstages: {world: {stage: microworld}}\n")
    with pytest.raises(ConfigError, match=r"recipe.yaml:1: trackers: use a list"):
        load_recipe(path)


class FakeWandb(ModuleType):
    class Error(Exception):
        pass

    def __init__(self):
        super().__init__("wandb")
        self.errors = SimpleNamespace(Error=self.Error)
        self.opened, self.rows, self.finished = [], [], []
        self.refuses, self.fail_at = False, None

    def init(
        self, entity=None, project=None, dir=None, id=None, name=None, notes=None, tags=None,
        config=None, config_exclude_keys=None, config_include_keys=None, allow_val_change=None,
        group=None, job_type=None, mode=None, force=None, reinit=None, resume=None,
        resume_from=None, fork_from=None, save_code=None, tensorboard=None,
        sync_tensorboard=None, monitor_gym=None, settings=None,
    ):  # fmt: skip
        if self.refuses:
            raise self.Error("not logged in")
        self.opened.append({"project": project, "id": id, "resume": resume, "config": config})
        return SimpleNamespace(log=self._log, finish=self._finish)

    def _log(self, data, step=None, commit=None):
        if step == self.fail_at:
            raise self.Error("the connection is gone")
        self.rows.append((step, data))

    def _finish(self, exit_code=None):
        self.finished.append(exit_code)


class FakeMlflow(ModuleType):
    class MlflowException(Exception):
        pass

    def __init__(self):
        super().__init__("mlflow")
        self.exceptions = SimpleNamespace(MlflowException=self.MlflowException)
        self.entities = SimpleNamespace(
            Param=lambda key, value: (key, value),
            Metric=lambda key, value, timestamp, step: (key, value, step),
        )
        self.experiments, self.created, self.statuses = {}, [], []
        self.rows, self.params = [], {}

    def MlflowClient(self, tracking_uri=None, registry_uri=None):
        return self

    def get_experiment_by_name(self, name):
        found = self.experiments.get(name)
        return found and SimpleNamespace(experiment_id=found)

    def create_experiment(self, name, artifact_location=None, tags=None):
        return self.experiments.setdefault(name, "7")

    def create_run(self, experiment_id, start_time=None, tags=None, run_name=None):
        assert experiment_id == "7"
        self.created.append(run_name)
        return SimpleNamespace(info=SimpleNamespace(run_id="r1"))

    def log_batch(self, run_id, metrics=(), params=(), tags=(), synchronous=None):
        assert run_id == "r1"
        self.params |= dict(params)
        if metrics:
            (step,) = {step for _, _, step in metrics}
            self.rows.append((step, {key: value for key, value, _ in metrics}))

    def update_run(self, run_id, status=None, name=None):
        self.statuses.append(status)

    def set_terminated(self, run_id, status=None, end_time=None):
        self.statuses.append(status)


class FakeTrackio(ModuleType):
    def __init__(self):
        super().__init__("trackio")
        self.names, self.rows, self.finished = [], [], 0

    def init(
        self, project, name=None, group=None, space_id=None, server_url=None, dataset_id=None,
        bucket_id=None, config=None, resume="never", settings=None, private=None, embed=True,
        auto_log_gpu=None, gpu_log_interval=10.0, auto_log_cpu=None, cpu_log_interval=10.0,
        webhook_url=None, webhook_min_level=None,
    ):  # fmt: skip
        assert resume == "allow"
        self.names.append(name)
        return SimpleNamespace(log=self._log, finish=self._finish)

    def _log(self, metrics, step=None):
        self.rows.append((step, metrics))

    def _finish(self):
        self.finished += 1


def _fake(kind):
    @pytest.fixture
    def fixture(monkeypatch):
        made = kind()
        monkeypatch.setitem(sys.modules, made.__name__, made)
        return made

    return fixture


wandb, mlflow, trackio = _fake(FakeWandb), _fake(FakeMlflow), _fake(FakeTrackio)
