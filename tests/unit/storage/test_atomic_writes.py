"""Writes that happen entirely or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from instructgpt.errors import ConfigError, RunDirError
from instructgpt.storage import atomic
from instructgpt.storage.atomic import (
    append_line,
    atomic_write,
    clean_leftovers,
    publish_directory,
)


def fail_after_half(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Make os.write store half of the bytes and then fail, as a disk that runs full does."""
    original = os.write

    def write(descriptor: int, data: bytes) -> int:
        original(descriptor, bytes(data)[: len(data) // 2])
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", write)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_is_replaced_and_parents_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    atomic_write(path, "old")
    atomic_write(path, "新\n")
    assert path.read_bytes() == b"\xe6\x96\xb0\n"
    assert names(path.parent) == ["b.txt"]


@pytest.mark.skipif(os.name == "nt", reason="open files cannot be replaced")
def test_who_has_the_old_file_open_never_sees_a_mixture(tmp_path: Path) -> None:
    atomic_write(tmp_path / "file", "old")
    with open(tmp_path / "file") as reader:
        atomic_write(tmp_path / "file", "new content")
        assert reader.read() == "old"
    assert (tmp_path / "file").read_text() == "new content"


@pytest.mark.skipif(os.name == "nt", reason="no umask")
def test_a_file_has_the_permissions_that_open_would_give(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic_write(tmp_path / "shared", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o640


def test_a_full_disk_leaves_the_old_file_and_says_how_much_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.json"
    atomic_write(path, "the old content")
    fail_after_half(monkeypatch, errno.ENOSPC)
    with pytest.raises(RunDirError) as caught:
        atomic_write(path, "something new")
    message = str(caught.value)
    assert str(path) in message
    assert "No space left" in message
    assert "MB free" in message
    assert "\n" not in message
    assert path.read_text() == "the old content"
    assert names(tmp_path) == ["results.json"]


def test_a_forbidden_path_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_after_half(monkeypatch, errno.EACCES)
    with pytest.raises(RunDirError, match=r"out\.txt': Permission denied; check the path"):
        atomic_write(tmp_path / "out.txt", "text")
    assert names(tmp_path) == []


def test_a_parent_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirError, match="cannot write"):
        atomic_write(tmp_path / "file" / "inside.txt", "text")


def test_a_line_that_does_not_fit_leaves_none_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a line used to stay, and the next one was glued to it."""
    path = tmp_path / "votes.jsonl"
    append_line(path, "first", durable=True)
    with monkeypatch.context() as full:
        fail_after_half(full, errno.ENOSPC)
        with pytest.raises(RunDirError, match="No space left"):
            append_line(path, "second")
    append_line(path, "第三")
    assert path.read_text(encoding="utf-8") == "first\n第三\n"


def test_other_mistakes_keep_their_type(tmp_path: Path) -> None:
    with pytest.raises(ConfigError), publish_directory(tmp_path / "model"):
        raise ConfigError("not about the disk")
    with pytest.raises(KeyError), publish_directory(tmp_path / "model"):
        raise KeyError("nor this")
    assert names(tmp_path) == []


def publish(destination: Path, content: str) -> None:
    with publish_directory(destination) as folder:
        (folder / "instructgpt.json").write_text(content)
        (folder / "deep").mkdir()
        (folder / "deep" / f"{content}.txt").write_text(content)


def test_a_published_directory_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    publish(tmp_path / "model", "one")
    publish(tmp_path / "model", "two")
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model" / "deep") == ["two.txt"]


def test_a_reader_sees_nothing_before_the_end(tmp_path: Path) -> None:
    with publish_directory(tmp_path / "model") as folder:
        (folder / "weights").write_text("half")
        assert not (tmp_path / "model").exists()


def test_a_failure_leaves_what_was_published_before(tmp_path: Path) -> None:
    publish(tmp_path / "model", "one")
    with pytest.raises(ZeroDivisionError), publish_directory(tmp_path / "model") as folder:
        (folder / "instructgpt.json").write_text(str(1 / 0))
    assert names(tmp_path / "model" / "deep") == ["one.txt"]
    assert names(tmp_path) == ["model"]


def test_a_directory_of_the_users_own_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    with pytest.raises(RunDirError, match="was not written by instructgpt"):
        publish(tmp_path / "thesis", "one")
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "years of work"


def test_a_directory_that_may_not_be_looked_at_is_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(RunDirError, match=r"cannot write .*: File name too long; check the path"),
        publish_directory(tmp_path / ("n" * 300)),
    ):
        pass


def test_an_empty_directory_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    publish(tmp_path / "model", "one")
    assert names(tmp_path / "model") == ["deep", "instructgpt.json"]


def test_a_link_keeps_pointing_at_the_new_content(tmp_path: Path) -> None:
    publish(tmp_path / "real", "one")
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    publish(tmp_path / "link", "two")
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "real" / "deep") == ["two.txt"]


def test_a_full_disk_inside_a_rust_library_is_recognised(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="Windows has no limits to set")
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")

    def save() -> None:
        with publish_directory(tmp_path / "model") as folder:
            safetensors.save_file({"w": torch.zeros(1 << 20)}, folder / "model.safetensors")

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # the kernel refuses to let any file grow beyond this: a real failed write
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(RunDirError, match=r"write '.*model': File too large \(.*MB free"):
            save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == []


def test_leftovers_of_killed_writes_go_and_interrupted_replacements_are_undone(
    tmp_path: Path,
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / ".config.yaml.0123abcd.tmp").write_text("half")
    (tmp_path / "run" / ".step-1.0123abcd.tmp").mkdir()
    (tmp_path / "run" / ".step-1.0123abcd.tmp" / "state").write_text("half")
    (tmp_path / "run" / ".model.0123abcd.old").mkdir()  # killed between the two renames
    (tmp_path / "run" / ".model.0123abcd.old" / "weights").write_text("whole")
    (tmp_path / "run" / ".best.89abcdef.old").mkdir()  # killed after them
    (tmp_path / "run" / "best").mkdir()
    (tmp_path / ".gitignore").write_text("*")
    clean_leftovers(tmp_path)
    assert names(tmp_path) == [".gitignore", "run"]
    assert names(tmp_path / "run") == ["best", "model"]
    assert (tmp_path / "run" / "model" / "weights").read_text() == "whole"


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.write
    monkeypatch.setattr(atomic.os, "write", lambda fd, data: original(fd, bytes(data)[:3]))
    atomic_write(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"
