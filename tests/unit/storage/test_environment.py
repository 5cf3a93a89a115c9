"""The environment and the source revision that a manifest records."""

from __future__ import annotations

import shutil
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from instructgpt.storage import environment
from instructgpt.storage.environment import describe_environment, describe_source, utc_now


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the module's file where the module believes that it lies."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    folder = tmp_path / "repo" / "src"
    folder.mkdir(parents=True)
    (folder / "environment.py").write_text("x = 1\n")
    monkeypatch.setattr(environment, "__file__", str(folder / "environment.py"))
    return folder


def test_a_checkout_has_a_revision_and_says_whether_it_was_changed(package: Path) -> None:
    git(package.parent, "init")
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-m", "first")
    revision = git(package.parent, "rev-parse", "HEAD")
    assert describe_source() == {"revision": revision, "dirty": False}
    (package / "scratch.txt").write_text("untracked files do not count")
    assert describe_source() == {"revision": revision, "dirty": False}
    (package / "environment.py").write_text("x = 2\n")
    assert describe_source() == {"revision": revision, "dirty": True}


def test_a_repository_that_the_package_is_only_installed_in_says_nothing(package: Path) -> None:
    git(package.parent, "init")
    git(package.parent, "commit", "--allow-empty", "-m", "the user's own project")
    assert describe_source() is None


def test_without_git_there_is_no_revision(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(package))
    assert describe_source() is None


def test_threads_are_those_that_torch_uses() -> None:
    torch = pytest.importorskip("torch")
    found = describe_environment()
    assert found["threads"] == torch.get_num_threads()
    assert found["cores"] >= 1
    assert found["cpu"]


def test_times_are_utc() -> None:
    assert datetime.fromisoformat(utc_now()).utcoffset() == timedelta(0)
