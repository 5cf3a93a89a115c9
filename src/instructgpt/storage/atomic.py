"""Writes that happen entirely or not at all.

Temporary names are hidden and carry a random token: `.NAME.0123abcd.tmp` is a write in progress,
`.NAME.0123abcd.old` the directory that a finished one is about to replace. Whoever holds the lock
of a run directory may call `clean_leftovers` on it after a kill.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from instructgpt.disk import disk_errors, write_all
from instructgpt.errors import RunDirError

_LEFTOVER = re.compile(r"^\.(?P<name>.+)\.[0-9a-f]{8}\.(?P<kind>tmp|old)$")


def atomic_write(path: str | Path, data: bytes | str, *, durable: bool = True) -> None:
    """Replace `path` by `data` (text as UTF-8); after a kill the old or the new content is there.

    With `durable=False` a power cut may undo it, and it costs a tenth of a millisecond. Parent
    directories are made. Errors: RunDirError when the disk is full or refuses.
    """
    path = Path(path)
    temporary = _hidden(path, "tmp")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            content = data.encode() if isinstance(data, str) else data
            if durable:
                write_durably(temporary, content)
            else:
                temporary.write_bytes(content)
            os.replace(temporary, path)
            if durable:
                sync_directory(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def publish_file(destination: str | Path) -> Iterator[Path]:
    """The name of a file to make; on success it replaces `destination`, on failure it is gone.

    Errors: RunDirError when the disk is full or refuses.
    """
    destination = Path(destination)
    temporary = _hidden(destination, "tmp")
    with disk_errors(destination):
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, destination)
            sync_directory(destination.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def publish_directory(
    destination: str | Path, marker: str | None = "instructgpt.json"
) -> Iterator[Path]:
    """A temporary directory to fill; on success it becomes `destination`, on failure it is gone.

    An existing `destination` is replaced if it is empty or holds a file called `marker`: that is
    how we know that it is ours to replace; with `marker=None` the caller vouches for it. A kill in
    the instant between the two renames leaves the old one as `.NAME.*.old`, which
    `clean_leftovers` puts back. Errors: RunDirError for a directory that is not ours, and when
    the disk is full or refuses.
    """
    with disk_errors(Path(destination)):
        destination = Path(destination).resolve()
        if marker is not None:
            _refuse_foreign(destination, marker)
    folder = _hidden(destination, "tmp")
    with disk_errors(destination):
        try:
            folder.mkdir(parents=True)
            yield folder
            _sync_tree(folder)
            _swap(folder, destination)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def clean_leftovers(root: Path) -> None:
    """Finish or remove what killed writes left under `root`; nobody else may be writing there."""
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files]:
            match = _LEFTOVER.match(name)
            if match is None:
                continue
            leftover, target = Path(folder, name), Path(folder, match["name"])
            if match["kind"] == "old" and not target.exists():
                os.rename(leftover, target)
            elif leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()
        folders[:] = [name for name in folders if not _LEFTOVER.match(name)]


def is_leftover(name: str) -> bool:
    """Whether a file name is one that only an unfinished write leaves behind."""
    return _LEFTOVER.match(name) is not None


def write_durably(path: Path, data: bytes) -> None:
    """Create `path` with `data` and wait until the disk has it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o666)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_line(path: str | Path, line: str, *, durable: bool = False) -> None:
    """Add `line` and a line break to `path`, which is made if it is missing; all of it or nothing.

    With `durable` the disk has it on return. Errors: RunDirError when the disk is full or refuses.
    """
    path = Path(path)
    with disk_errors(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        length = os.fstat(descriptor).st_size
        try:
            write_all(descriptor, f"{line}\n".encode())
            if durable:
                os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, length)
            raise
        finally:
            os.close(descriptor)


def sync_directory(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut, where the platform has a way to."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _hidden(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.{kind}")


def _refuse_foreign(destination: Path, marker: str) -> None:
    if not destination.exists():
        return
    if destination.is_dir():
        names = [entry.name for entry in destination.iterdir()]
        if not names or marker in names:
            return
    raise RunDirError(
        f"'{destination}' exists and was not written by instructgpt (no {marker} in it), so it "
        "is not replaced; choose another name or remove it"
    )


def _sync_tree(folder: Path) -> None:
    for current, _folders, files in os.walk(folder):
        for name in files:
            # Windows flushes only descriptors that may write
            descriptor = os.open(Path(current, name), os.O_RDWR)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_directory(Path(current))


def _swap(folder: Path, destination: Path) -> None:
    """Rename `folder` to `destination`; the old one goes only after the new one is durable."""
    old = _hidden(destination, "old")
    if destination.exists():
        os.rename(destination, old)
    os.rename(folder, destination)
    sync_directory(destination.parent)
    if old.exists():
        shutil.rmtree(old)
