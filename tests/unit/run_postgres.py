"""A PostgreSQL server in a folder, until stdin ends: then both go.

    python run_postgres.py FOLDER PROGRAMS PORT PASSWORD

A process that started it through a pipe may therefore end in any way, also by SIGKILL.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any


def serve(folder: Path, programs: Path, port: str, password: str) -> None:
    """Make a cluster whose superuser `postgres` has that password, and serve it on 127.0.0.1."""
    as_whom: dict[str, Any] = {"cwd": folder}
    if os.geteuid() == 0:  # which PostgreSQL refuses
        shutil.chown(folder, "postgres", "postgres")
        as_whom |= {"user": "postgres", "group": "postgres", "extra_groups": []}
    data = folder / "data"
    (folder / "password").write_text(password)
    subprocess.run(
        [programs / "initdb", "--pgdata", data, "--username=postgres", "--auth=scram-sha-256",
         f"--pwfile={folder / 'password'}", "--encoding=UTF8", "--no-locale", "--no-sync"],
        check=True, stdout=subprocess.DEVNULL, **as_whom,
    )  # fmt: skip
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-p", port, "-c", "fsync=off",
             "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, **as_whom,
        )  # fmt: skip
    try:
        sys.stdin.read()
    finally:
        server.send_signal(signal.SIGQUIT)  # at once: nobody needs what it would still write
        server.wait()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        serve(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
    finally:
        shutil.rmtree(sys.argv[1])
