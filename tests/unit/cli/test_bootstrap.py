"""run.py, as far as it can be tested without installing anything."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def bootstrap(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """run.py as a module that believes it lives in an empty checkout; commands are recorded."""
    spec = importlib.util.spec_from_file_location("bootstrap", repository / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in module.INPUTS:
        (tmp_path / name).write_bytes((repository / name).read_bytes())
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(module, "PYTHON", tmp_path / ".venv/bin/python")
    monkeypatch.setattr(module, "STAMP", tmp_path / ".venv/set-up.txt")
    return module


class Commands:
    """Stands for the machine: which commands succeed, and what was asked of it."""

    def __init__(self, bootstrap: ModuleType, succeeds: Any) -> None:
        self.asked: list[str] = []
        self.succeeds = succeeds
        bootstrap.works = self.run
        bootstrap.pip = self.pip

    def run(self, *command: str) -> bool:
        line = " ".join(str(part) for part in command)
        self.asked.append(line)
        return bool(self.succeeds(line))

    def pip(self, *arguments: str) -> bool:
        return self.run("pip", *arguments)


def make_venv(bootstrap: ModuleType) -> None:
    bootstrap.PYTHON.parent.mkdir(parents=True)
    bootstrap.PYTHON.write_text("")


def test_a_second_start_sets_nothing_up(bootstrap: ModuleType) -> None:
    make_venv(bootstrap)
    commands = Commands(bootstrap, lambda line: True)
    bootstrap.set_up("dev", None)
    assert commands.asked
    commands.asked.clear()
    bootstrap.set_up("dev", None)
    bootstrap.set_up("core", None)
    assert commands.asked == []


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "run.py"])
def test_a_changed_input_sets_up_again(bootstrap: ModuleType, name: str) -> None:
    make_venv(bootstrap)
    commands = Commands(bootstrap, lambda line: True)
    bootstrap.set_up("core", None)
    assert bootstrap.is_set_up("core")
    assert not bootstrap.is_set_up("dev")
    with (bootstrap.ROOT / name).open("a") as file:
        file.write("\n# changed\n")
    assert not bootstrap.is_set_up("core")
    commands.asked.clear()
    bootstrap.set_up("core", None)
    assert any("install -c" in line for line in commands.asked)


def test_a_failed_install_leaves_no_stamp(bootstrap: ModuleType) -> None:
    make_venv(bootstrap)
    Commands(bootstrap, lambda line: "-e" not in line.split())
    with pytest.raises(SystemExit, match="pip failed"):
        bootstrap.set_up("core", None)
    assert not bootstrap.STAMP.exists()


@pytest.mark.parametrize(
    ("wheel", "nvidia", "platform", "index_works", "expected"),
    [
        (True, False, "linux", True, ["--no-index"]),
        (False, False, "linux", True, ["--no-index", "--index-url"]),
        (False, False, "linux", False, ["--no-index", "--index-url"]),
        (False, True, "linux", True, ["--no-index"]),
        (False, False, "darwin", True, ["--no-index"]),
    ],
)
def test_torch_comes_from_a_local_wheel_then_the_cpu_index_then_pips_own(
    bootstrap: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wheel: bool,
    nvidia: bool,
    platform: str,
    index_works: bool,
    expected: list[str],
) -> None:
    commands = Commands(bootstrap, lambda line: wheel if "--no-index" in line else index_works)
    monkeypatch.setattr(bootstrap, "has_nvidia_driver", lambda: nvidia)
    monkeypatch.setattr(bootstrap.sys, "platform", platform)
    bootstrap.install_torch(None)
    asked = [next(part for part in line.split() if "index" in part) for line in commands.asked]
    assert asked == expected
    # a second index must never be able to supply anything but torch
    assert all("--no-deps" in line for line in commands.asked)
    assert ("gigabytes of CUDA" in capsys.readouterr().out) == (not wheel and not index_works)


def test_a_given_torch_index_is_used_or_it_is_an_error(bootstrap: ModuleType) -> None:
    commands = Commands(bootstrap, lambda line: True)
    bootstrap.install_torch("https://mirror.invalid/whl")
    assert "--index-url https://mirror.invalid/whl" in commands.asked[0]
    Commands(bootstrap, lambda line: False)
    with pytest.raises(SystemExit, match=r"mirror\.invalid"):
        bootstrap.install_torch("https://mirror.invalid/whl")


@pytest.mark.parametrize(
    ("works", "attempts"),
    [
        (["-m venv --clear /"], 1),
        (["--without-pip", "-m pip --python"], 3),
        (["--without-pip", "uv venv"], 4),
        (["virtualenv"], 4),
    ],
)
def test_a_missing_ensurepip_has_ways_around_it(
    bootstrap: ModuleType, works: list[str], attempts: int
) -> None:
    """Debian's `python3 -m venv` fails without python3-venv: the commonest first obstacle."""
    commands = Commands(bootstrap, lambda line: any(part in line for part in works))
    bootstrap.create_venv()
    assert len(commands.asked) == attempts
    assert works[-1] in commands.asked[-1]


def test_no_way_to_a_venv_names_the_package(bootstrap: ModuleType) -> None:
    Commands(bootstrap, lambda line: False)
    with pytest.raises(SystemExit, match="sudo apt install python3"):
        bootstrap.create_venv()


def test_options_are_taken_out_of_the_arguments(bootstrap: ModuleType) -> None:
    take = bootstrap.take_option
    assert take(["a", "--x", "1", "b"], "--x") == ("1", ["a", "b"])
    assert take(["a", "--x=1", "b"], "--x") == ("1", ["a", "b"])
    assert take(["a", "b"], "--x") == (None, ["a", "b"])


def test_an_old_python_becomes_the_newest_one_that_runs(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version manager's python3.13 that refuses to run is passed over for python3.12."""
    for name, code in (("python3.13", 1), ("python3.12", 0), ("python3.11", 0)):
        script = tmp_path / name
        script.write_text(f"#!/bin/sh\nexit {code}\n")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    become: list[str] = []
    monkeypatch.setattr(bootstrap.os, "execv", lambda path, arguments: become.append(path))
    with pytest.raises(SystemExit, match=r"Python 3\.11 or newer is needed"):
        bootstrap.restart_with_newer_python()
    assert become[0] == str(tmp_path / "python3.12")


def test_without_a_verb_it_explains_itself(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(repository / "run.py")], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "python3 run.py quickstart" in done.stderr


def test_it_needs_only_the_standard_library(repository: Path) -> None:
    """-S -I: no site-packages, no environment."""
    command = [sys.executable, "-S", "-I", str(repository / "run.py"), "nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": os.defpath})
    assert "Set up .venv" in done.stderr


def test_make_forwards_to_it(repository: Path) -> None:
    text = (repository / "Makefile").read_text()
    for verb in ("quickstart", "test"):
        assert f"{verb}:" in text
        assert f"run.py {verb} $(ARGS)" in text
