"""Writing to a disk that may be full or forbidden: then one readable line."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from instructgpt.errors import InstructGPTError, RunDirError

# Conditions of the machine rather than mistakes in the program.
_DISK_ERRNOS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EIO,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
}
_FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# What SQLite says when it meets one of them.
_SQLITE_ERRNOS = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_READONLY: errno.EROFS,
}


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full, read-only or forbidden disk into one RunDirError line that names `path`."""
    try:
        yield
    except InstructGPTError:
        raise
    except BaseException as error:
        number = _disk_errno(error) or _disk_errno(error.__cause__)
        if number is None:
            raise
        raise RunDirError(_explain(path, number)) from error


def _disk_errno(error: BaseException | None) -> int | None:
    """The system error behind `error`; SQLite has its own, libraries in Rust put it in a text."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, sqlite3.Error):
        # extended codes carry the primary one in their low byte
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        number = _SQLITE_ERRNOS.get(code)
    match = re.search(r"\(os error (\d+)\)", str(error))
    if number is None and match:
        number = int(match[1])
    return number if number in _DISK_ERRNOS else None


def _explain(path: Path, number: int) -> str:
    what = f"cannot write '{path}': {os.strerror(number)}"
    if number not in _FULL_ERRNOS:
        return f"{what}; check the path and its permissions, or choose another directory"
    return f"{what} ({_free_space(path)}); free some space, then start the same command again"


def _free_space(path: Path) -> str:
    whole = path.absolute()
    existing = next(place for place in (whole, *whole.parents) if place.exists())
    return f"{shutil.disk_usage(existing).free / 1e6:,.0f} MB free there"


def write_all(descriptor: int, data: bytes) -> None:
    """`os.write` until everything is written."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
