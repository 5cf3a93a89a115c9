"""Two processes under torchrun do what one does, within rounding, in every stage."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

STAGES = ("base", "sft", "reward_model", "dpo", "ppo", "ppo_ptx")
RECIPE = Path(__file__).parents[1] / "e2e" / "tiny.yaml"
HARDWARE = ("tokens_per_microbatch=64", "dtype=float32")


TORCHRUN = (
    "-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d",
    "--rdzv-endpoint=localhost:0",
)  # fmt: skip


def _run(out: Path, until: str, *launcher: str) -> None:
    command = [sys.executable, *launcher, "-m", "instructgpt", "run", str(RECIPE)]
    command += ["--out", str(out), "--until", until]
    # Muon's bfloat16 orthogonalisation turns rounding into visible differences; adamw does not.
    command += ["base.optim.optimizer=adamw", "base.optim.lr=0.003"]
    # Both processes have microbatches at every step; float32, so that rounding stays small.
    command += [f"{stage}.hardware.{key}" for stage in STAGES for key in HARDWARE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, tuple[Path, Path]]:
    """Per stage its directory by one process and by two, both from the same labels: one token that
    rounding turns in a completion to be ranked would make two different data sets.
    """
    one, two, later = (tmp_path_factory.mktemp(name) for name in ("one", "two", "later"))
    _run(one, "ppo_ptx")
    _run(two, "sft", *TORCHRUN)
    for stage in ("world", "base", "sft", "label"):
        shutil.copytree(one / stage, later / stage)
    _run(later, "ppo_ptx", *TORCHRUN)
    by_two = {"base": two, "sft": two}
    return {stage: (one / stage, by_two.get(stage, later) / stage) for stage in STAGES}


@pytest.mark.parametrize("stage", STAGES)
def test_weights_agree(runs, stage):
    one, two = (load_file(folder / "model" / "model.safetensors") for folder in runs[stage])
    assert set(one) == set(two)
    for name in one:
        torch.testing.assert_close(one[name], two[name], atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("stage", STAGES)
def test_metrics_agree(runs, stage):
    one, two = (
        [
            json.loads(line)
            for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        for folder in runs[stage]
    )
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        for name in ("loss", "score", "kl", "policy_loss", "value_loss", "heldout_loss"):
            if name in a:
                assert a[name] == pytest.approx(b[name], abs=2e-3)
