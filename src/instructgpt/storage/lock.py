"""One process at a time in a directory; the lock dies with its holder, even after kill -9."""

from __future__ import annotations

import json
import os
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

from instructgpt.disk import disk_errors, write_all
from instructgpt.errors import RunDirError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK_NAME = ".lock"
# Windows forbids reading locked bytes, so the locked one lies behind the holder's description.
_LOCKED_OFFSET = 1 << 20


class DirectoryLock:
    """The exclusive right to write in `folder`, held from construction to `release`.

    The file stays behind when released: removing it could take it from under a waiting process.
    Errors: RunDirError naming the holder (process, host, since when).
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK_NAME
        with disk_errors(self.path):
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        if not _try_lock(self._descriptor):
            holder = _describe(self._descriptor)
            os.close(self._descriptor)
            raise RunDirError(
                f"'{folder}' is in use by {holder}; wait until it ends, or choose another directory"
            )
        self._write(
            json.dumps(
                {
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                    "since": datetime.now(UTC).isoformat(timespec="seconds"),
                }
            )
        )

    def release(self) -> None:
        """Let the next process in."""
        self._write("")
        _unlock(self._descriptor)
        os.close(self._descriptor)

    def _write(self, text: str) -> None:
        with disk_errors(self.path):
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            write_all(self._descriptor, text.encode())


def _describe(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        holder = json.loads(os.read(descriptor, 4096))
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        # the holder has locked the file and not yet written who it is
        return "another process"


if sys.platform == "win32":

    def _try_lock(descriptor: int) -> bool:
        os.lseek(descriptor, _LOCKED_OFFSET, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, _LOCKED_OFFSET, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
