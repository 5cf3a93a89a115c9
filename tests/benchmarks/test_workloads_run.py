"""Our side of every comparison fits the package: a changed signature had broken all, unseen."""

from __future__ import annotations

import json

import pytest
import torch

TINY = ["--layers", "1", "--width", "64", "--vocab", "64", "--threads", "1"]
WORK = {
    "ppo": ["--episodes", "4", "--batch", "4", "--response", "2"],
    "sft": ["--rows", "4"],
    "reward_model": ["--rankings", "2"],
    "dpo": ["--rankings", "2"],
    "rollout": ["--requests", "2", "--response", "2"],
}


@pytest.mark.parametrize("name", WORK)
def test_our_side_runs(benchmark_module, monkeypatch, capsys, name):
    """The last line is the JSON that the harness reads."""
    if name == "sft":
        monkeypatch.setattr(benchmark_module("measure"), "matrix_rate", lambda *_: 1e9)
    threads = torch.get_num_threads()
    monkeypatch.setattr("sys.argv", [name, *TINY, *WORK[name]])
    benchmark_module(name).main()
    torch.set_num_threads(threads)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"seconds", "cpu_seconds", "peak_mib", "params_m", "work"} <= set(found)
