"""The run directory: identity, lock, logs, checkpoints, the end of a run."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from instructgpt.errors import CheckpointError, ConfigError, RunDirError
from instructgpt.storage import run_dir
from instructgpt.storage.manifest import fingerprint_stage
from instructgpt.storage.run_dir import RunDir

SOURCE = Path(__file__).parents[3] / "src"
CONFIG: dict[str, Any] = {"model": "@base/model", "optim": {"lr": 1e-5, "betas": (0.9, 0.95)}}


def open_run(root: Path, **changes: Any) -> RunDir:
    arguments: dict[str, Any] = {"stage": "sft", "config": CONFIG, "seed": 3, "parents": {}}
    return RunDir.open(root, **(arguments | changes))


def state_at(step: int) -> dict[str, Any]:
    return {"weight": torch.full((4,), float(step)), "step": step}


def train(root: Path, last: int, every: int = 2, **changes: Any) -> None:
    """Log each step and checkpoint every second one, from where the last call stopped."""
    with open_run(root, **changes) as run:
        loaded = run.load_checkpoint()
        for step in range((loaded[0] if loaded else 0) + 1, last + 1):
            run.log(step, {"loss": 1 / step})
            run.log_timing(step, {"seconds": time.perf_counter()})
            if step % every == 0:
                run.save_checkpoint(step, state_at(step))


# Identity


def test_a_new_run_says_what_it_is(tmp_path: Path) -> None:
    root = tmp_path / "runs" / "sft"
    with open_run(root, parents={"base": "ab12"}) as run:
        assert run.path("model", "config.json") == root / "model" / "config.json"
    manifest = json.loads((root / "manifest.json").read_text())
    expected = {"stage": "sft", "seed": 3, "parents": {"base": "ab12"}, "resumed": []}
    assert manifest.items() >= expected.items()
    assert manifest["environment"]["python"] == ".".join(map(str, sys.version_info[:3]))
    installed = manifest["environment"]["packages"]["torch"]
    assert installed.split("+")[0] == torch.__version__.split("+")[0]  # local builds differ
    assert manifest["environment"]["cores"] >= 1
    read_back = yaml.safe_load((root / "config.yaml").read_text())
    assert read_back == {"model": "@base/model", "optim": {"lr": 1e-5, "betas": [0.9, 0.95]}}
    assert list(read_back) == ["model", "optim"]  # in the order of the settings


def test_the_fingerprint_is_the_one_a_pipeline_computes_beforehand(tmp_path: Path) -> None:
    with open_run(tmp_path / "a", parents={"base": "ab12"}) as run:
        assert run.fingerprint == fingerprint_stage("sft", CONFIG, 3, {"base": "ab12"})
        assert run.fingerprint != fingerprint_stage("sft", CONFIG, 3, {"base": "cd34"})
        assert run.fingerprint != fingerprint_stage("dpo", CONFIG, 3, {"base": "ab12"})
        assert run.fingerprint != fingerprint_stage("sft", CONFIG, 4, {"base": "ab12"})


def test_settings_that_json_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        open_run(tmp_path / "a", config={"lr": math.inf})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"config": CONFIG | {"optim": {"lr": 2e-5, "betas": [0.9, 0.95]}}}, "optim.lr: 1e-05 -> "),
        ({"config": CONFIG | {"epochs": 2}}, "epochs: (absent) -> 2"),
        ({"config": {"model": "@base/model"}}, "optim.lr: 1e-05 -> (absent)"),
        ({"seed": 4}, "seed: 3 -> 4"),
        ({"stage": "dpo"}, 'stage: "sft" -> "dpo"'),
        ({"parents": {"base": "cd"}}, 'parents.base: (absent) -> "cd"'),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_other_settings_are_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], named: str, finished: bool
) -> None:
    with open_run(tmp_path / "a") as run:
        if finished:
            run.finish({})
    with pytest.raises(RunDirError) as caught:
        open_run(tmp_path / "a", **changes)
    message = str(caught.value)
    assert named in message
    assert ("a finished run" if finished else "an unfinished run") in message
    assert "choose another directory" in message
    assert "\n" not in message
    open_run(tmp_path / "a").close()  # the refusal has changed nothing and holds no lock


def test_only_the_first_differences_are_spelled_out(tmp_path: Path) -> None:
    open_run(tmp_path / "a", config={str(i): i for i in range(9)}).close()
    with pytest.raises(RunDirError, match=r"\(0: 0 -> 1, 1: 1 -> 2, 2: 2 -> 3 and 6 more\)"):
        open_run(tmp_path / "a", config={str(i): i + 1 for i in range(9)})


def test_a_directory_with_other_peoples_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunDirError, match=r"not a run directory .* 'thesis\.tex'"):
        open_run(tmp_path)
    with pytest.raises(RunDirError, match="not a run directory"):
        RunDir.discard(tmp_path)
    with pytest.raises(RunDirError, match="not a run directory"):
        RunDir.view(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_file_is_no_place_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirError, match="file"):
        open_run(tmp_path / "file")


def test_resuming_is_recorded_with_what_is_different(tmp_path: Path) -> None:
    with open_run(tmp_path / "a") as run:
        run.record_environment(device="cpu", dtype="bfloat16")
    manifest = json.loads((tmp_path / "a/manifest.json").read_text())
    assert manifest["environment"]["dtype"] == "bfloat16"
    manifest["environment"]["cpu"] = "another machine's"
    (tmp_path / "a/manifest.json").write_text(json.dumps(manifest))
    open_run(tmp_path / "a").close()
    (resumed,) = json.loads((tmp_path / "a/manifest.json").read_text())["resumed"]
    assert list(resumed["environment"]) == ["cpu"]


# The lock


def test_a_second_process_is_refused_and_told_who_holds_the_directory(tmp_path: Path) -> None:
    code = (
        "import sys; from instructgpt.errors import RunDirError\n"
        "from instructgpt.storage.run_dir import RunDir\n"
        "assert 'torch' not in sys.modules, 'reading a run must not cost an import of torch'\n"
        f"try: RunDir.open({str(tmp_path / 'a')!r}, 'sft', {{}}, 0)\n"
        "except RunDirError as error: sys.stdout.write(str(error))\n"
    )
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    with open_run(tmp_path / "a", config={}, seed=0):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert f"in use by process {os.getpid()} on " in done.stdout
    assert " since 20" in done.stdout
    assert "\n" not in done.stdout
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert again.stdout == ""


def test_a_run_in_use_cannot_be_discarded(tmp_path: Path) -> None:
    with open_run(tmp_path / "a"), pytest.raises(RunDirError, match="in use"):
        RunDir.discard(tmp_path / "a")


def test_other_ranks_read_and_write_nothing(tmp_path: Path) -> None:
    train(tmp_path / "a", last=3)
    before = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    with open_run(tmp_path / "a", writes=False) as run:
        loaded = run.load_checkpoint()
        assert loaded is not None
        assert loaded[0] == 2
        run.log(3, {"loss": 1.0})
        run.save_checkpoint(4, state_at(4))
        run.finish({})
    after = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert after == before


# Logs


def test_numbers_come_back_as_they_were(tmp_path: Path) -> None:
    with open_run(tmp_path / "a") as run:
        run.log(1, {"loss": 0.1, "tokens": 2**60, "tensor": torch.tensor(0.5), "inf": -math.inf})
        run.log(1, {"nan": math.nan, "loss": torch.tensor(math.inf)})
        first, second = run.read_metrics()
    assert first == {"step": 1, "loss": 0.1, "tokens": 2**60, "tensor": 0.5, "inf": -math.inf}
    assert math.isnan(second["nan"])
    assert second["loss"] == math.inf
    strict = [
        json.loads(line, parse_constant=pytest.fail)
        for line in run.path("metrics.jsonl").read_text().splitlines()
    ]
    assert strict[1] == {
        "step": 1,
        "nan": None,
        "loss": None,
        "nonfinite": {"nan": "nan", "loss": "inf"},
    }


def test_a_row_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    train(tmp_path / "a", last=2)
    with (tmp_path / "a/metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
    assert [row["step"] for row in RunDir.view(tmp_path / "a").read_metrics()] == [1, 2]


def test_a_full_disk_leaves_no_half_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.write

    def write(descriptor: int, data: bytes) -> int:
        original(descriptor, bytes(data)[:5])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with open_run(tmp_path / "a") as run:
        run.log(1, {"loss": 1.0})
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", write)
            with pytest.raises(RunDirError, match="No space left"):
                run.log(2, {"loss": 2.0})
        assert run.path("metrics.jsonl").read_text() == '{"step": 1, "loss": 1.0}\n'


def test_a_run_without_checkpoints_starts_its_logs_again(tmp_path: Path) -> None:
    for _ in range(2):
        train(tmp_path / "a", last=1)
    assert RunDir.view(tmp_path / "a").read_metrics() == [{"step": 1, "loss": 1.0}]


# Checkpoints


def test_a_resumed_run_has_the_bytes_of_an_uninterrupted_one(tmp_path: Path) -> None:
    train(tmp_path / "whole", last=8)
    for last in (3, 3, 5, 8):
        train(tmp_path / "parts", last=last)
    whole, parts = tmp_path / "whole/metrics.jsonl", tmp_path / "parts/metrics.jsonl"
    assert parts.read_bytes() == whole.read_bytes()
    timed = [row["step"] for row in RunDir.view(tmp_path / "parts").read_timings()]
    assert timed == list(range(1, 9))


def test_everything_a_trainer_keeps_comes_back(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.randn(3, 2))
    optimizer = torch.optim.AdamW([parameter], lr=0.1)
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    state = {
        "optimizer": optimizer.state_dict(),
        "parameter": parameter,
        "half": torch.ones(2, dtype=torch.bfloat16),
        "rng": torch.get_rng_state(),
        "python_rng": (3, (2**127, 1), None),
        "text": "宠物",
        "nan": math.nan,
        3: [True, {"x": ()}],
    }
    with open_run(tmp_path / "a") as run:
        run.save_checkpoint(7, state)
        loaded = run.load_checkpoint()
    assert loaded is not None
    step, back = loaded
    assert step == 7
    assert torch.equal(back["rng"], state["rng"])
    assert torch.equal(back["parameter"], parameter)
    assert back["half"].dtype == torch.bfloat16
    assert back["python_rng"] == (3, (2**127, 1), None)
    assert (back["text"], back[3]) == ("宠物", [True, {"x": ()}])
    assert math.isnan(back["nan"])
    moments = back["optimizer"]["state"][0]
    assert torch.equal(moments["exp_avg"], optimizer.state[parameter]["exp_avg"])
    assert back["optimizer"]["param_groups"][0]["lr"] == 0.1


def test_state_that_could_not_be_loaded_is_refused_when_it_is_saved(tmp_path: Path) -> None:
    with open_run(tmp_path / "a") as run:
        with pytest.raises(TypeError, match=r"state\['rng'\]\[1\] is a \w*Path"):
            run.save_checkpoint(1, {"rng": [0, Path("x")]})
        with pytest.raises(TypeError, match="float64"):
            run.save_checkpoint(1, {"loss": torch.ones(1).double().numpy()[0]})
        assert run.load_checkpoint() is None


@pytest.mark.parametrize(("keep", "kept"), [(1, [6]), (2, [4, 6]), (5, [2, 4, 6])])
def test_the_last_checkpoints_stay(tmp_path: Path, keep: int, kept: list[int]) -> None:
    train(tmp_path / "a", last=7, keep=keep)
    found = sorted(path.name for path in (tmp_path / "a/checkpoints").iterdir())
    assert found == [f"step-{step:08d}" for step in kept]


@pytest.mark.parametrize("damage", ["cut", "flip", "no state", "no facts"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path / "whole", last=9)
    train(tmp_path / "a", last=5)
    harm(tmp_path / "a/checkpoints/step-00000004", damage)
    with caplog.at_level(logging.WARNING):
        train(tmp_path / "a", last=9)
    (warning,) = caplog.messages
    assert "step-00000004" in warning
    assert (tmp_path / "a/metrics.jsonl").read_bytes() == (
        tmp_path / "whole/metrics.jsonl"
    ).read_bytes()


def test_the_future_that_a_fall_back_gave_up_cannot_return(tmp_path: Path) -> None:
    train(tmp_path / "a", last=4)
    harm(tmp_path / "a/checkpoints/step-00000004", "flip")
    with open_run(tmp_path / "a") as run:
        loaded = run.load_checkpoint()
        assert loaded is not None
        run.save_checkpoint(loaded[0] + 1, state_at(3))
        assert run.checkpoints.steps() == [2, 3]


def test_nothing_but_damaged_checkpoints_is_an_error(tmp_path: Path) -> None:
    train(tmp_path / "a", last=4)
    for step in (2, 4):
        harm(tmp_path / f"a/checkpoints/step-{step:08d}", "cut")
    with open_run(tmp_path / "a") as run:
        with pytest.raises(CheckpointError, match=r"step-00000002.*no earlier one.*to start this"):
            run.load_checkpoint()
        assert len(run.read_metrics()) == 4


def harm(folder: Path, damage: str) -> None:
    state = folder / "state.pt"
    data = bytearray(state.read_bytes())
    if damage == "cut":
        state.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        data[len(data) // 2] ^= 1
        state.write_bytes(data)
    elif damage == "no state":
        state.unlink()
    else:
        (folder / "checkpoint.json").unlink()


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="Windows has no limits to set")
    train(tmp_path / "a", last=2)
    with open_run(tmp_path / "a") as run:
        run.load_checkpoint()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        # the kernel refuses to let any file grow beyond this: a real failed write inside torch
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
        try:
            with pytest.raises(RunDirError, match=r"step-00000003': File too large \(.* MB free"):
                run.save_checkpoint(3, {"weight": torch.zeros(1 << 16)})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        loaded = run.load_checkpoint()
    assert loaded is not None
    assert loaded[0] == 2
    assert [path.name for path in (tmp_path / "a/checkpoints").iterdir()] == ["step-00000002"]


def test_a_log_cut_by_hand_is_noticed(tmp_path: Path) -> None:
    train(tmp_path / "a", last=2)
    os.truncate(tmp_path / "a/metrics.jsonl", 3)
    with open_run(tmp_path / "a") as run, pytest.raises(RunDirError, match="is shorter than"):
        run.load_checkpoint()


def test_logging_before_loading_would_repeat_rows_and_is_refused(tmp_path: Path) -> None:
    train(tmp_path / "a", last=3)
    with open_run(tmp_path / "a") as run, pytest.raises(RuntimeError, match="load_checkpoint"):
        run.log(3, {"loss": 0.0})


# The end


def test_a_finished_run_keeps_its_summary_and_refuses_more(tmp_path: Path) -> None:
    train(tmp_path / "a", last=3)
    with open_run(tmp_path / "a") as run:
        assert not run.is_done
        run.load_checkpoint()
        run.finish({"win_rate": 0.7, "by_task": {"qa": math.nan}})
        assert run.is_done
    with open_run(tmp_path / "a") as run:
        done = run.done
        assert done is not None
        assert done["fingerprint"] == run.fingerprint
        assert done["summary"] == {"win_rate": 0.7, "by_task": {"qa": None}}
        assert run.seconds == done["seconds"]
        assert [row["step"] for row in run.read_metrics()] == [1, 2]
        for change in (
            lambda: run.log(4, {}),
            lambda: run.save_checkpoint(4, {}),
            lambda: run.finish({}),
        ):
            with pytest.raises(RunDirError, match="is finished"):
                change()


def test_seconds_add_up_over_restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    # ours alone: servers of other tests run on the clock of the module `time`, and one that looked
    # at it now would sleep until the real clock has caught up
    monkeypatch.setattr(run_dir, "monotonic", lambda: now)
    with open_run(tmp_path / "a") as run:
        now += 10
        run.save_checkpoint(1, state_at(1))
        now += 5  # killed here: this work is lost
    now += 100
    with open_run(tmp_path / "a") as run:
        run.load_checkpoint()
        now += 7
        assert run.seconds == 17
        run.finish({})
        now += 50
    assert RunDir.view(tmp_path / "a").seconds == 17


def test_a_discarded_run_starts_from_nothing(tmp_path: Path) -> None:
    train(tmp_path / "a", last=4)
    RunDir.discard(tmp_path / "a")
    assert [path.name for path in (tmp_path / "a").iterdir()] == [".lock"]
    with open_run(tmp_path / "a", seed=99) as run:
        assert run.load_checkpoint() is None
        assert run.read_metrics() == []
    RunDir.discard(tmp_path / "never made")
    assert not (tmp_path / "never made").exists()


def test_a_damaged_manifest_is_one_line(tmp_path: Path) -> None:
    open_run(tmp_path / "a").close()
    (tmp_path / "a/manifest.json").write_text("{")
    with pytest.raises(RunDirError, match=r"manifest\.json' is damaged .*; remove '.*a' to start"):
        open_run(tmp_path / "a")
