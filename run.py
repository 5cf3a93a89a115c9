#!/usr/bin/env python3
"""Set up .venv with the standard library alone, then run the quickstart or the tests.

    python3 run.py quickstart [STAGE.SETTING=VALUE ...]
    python3 run.py test [pytest arguments]
    python3 run.py setup                 only set up, tests included

`--torch-index URL` takes torch from another index: a mirror, or another CUDA version. Everything
else comes from wherever your pip is configured to look. A second start sets nothing up again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "set-up.txt"
OLDEST = (3, 11)
CPU_TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
INPUTS = ("pyproject.toml", "constraints.txt", "run.py")


def main(arguments: list[str]) -> None:
    """Set up what the verb needs, then become it."""
    if sys.version_info < OLDEST:
        restart_with_newer_python()
    verbs = {"quickstart": "core", "test": "dev", "setup": "dev"}
    if not arguments or arguments[0] not in verbs:
        sys.exit(__doc__)
    verb, (index, rest) = arguments[0], take_option(arguments[1:], "--torch-index")
    set_up(verbs[verb], index)
    if verb == "quickstart":
        os.execv(PYTHON, [str(PYTHON), "-m", "instructgpt", "quickstart", *rest])
    if verb == "test":
        os.chdir(ROOT)
        # One thread per worker: many tiny models gain nothing from more, and workers share cores.
        os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")
        os.execv(PYTHON, [str(PYTHON), "-m", "pytest", "-n", str(workers()), *rest])


def set_up(extra: str, torch_index: str | None) -> None:
    """Create .venv and install into it, unless a stamp says that this was done."""
    lock = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two starts at once: the second waits for the first
        if not is_set_up(extra):
            install(extra, torch_index)
    finally:
        os.close(lock)


def install(extra: str, torch_index: str | None) -> None:
    """The set-up itself; the stamp comes last."""
    started = time.time()
    if not works(PYTHON, "-m", "pip", "--version"):
        create_venv()
    install_torch(torch_index)
    target = f"{ROOT}[dev]" if extra == "dev" else str(ROOT)
    say(f"installing instructgpt{'[dev]' if extra == 'dev' else ''} (see {INPUTS[0]})")
    if not pip("install", "-c", str(ROOT / "constraints.txt"), "-e", target):
        sys.exit("run.py: pip failed, see above; mend that and start the same command again")
    STAMP.write_text(f"{digest()} {extra}\n")
    say(f"set up in {time.time() - started:.0f} s")


def is_set_up(extra: str) -> bool:
    """Whether .venv holds what this checkout needs; a set-up for tests covers everything."""
    if not STAMP.exists() or not PYTHON.exists():
        return False
    found, _, has = STAMP.read_text().strip().partition(" ")
    return found == digest() and has in (extra, "dev")


def digest() -> str:
    """What the set-up depends on; the place too, because an environment cannot be moved."""
    texts = [(ROOT / name).read_bytes() for name in INPUTS]
    return hashlib.sha256(b"\0".join([str(ROOT).encode(), *texts])).hexdigest()


def create_venv() -> None:
    """An environment with pip in it, also where Debian has left out ensurepip."""
    say(f"creating {VENV}")
    bare = [sys.executable, "-m", "venv", "--clear", "--without-pip", str(VENV)]
    ways = [
        [[sys.executable, "-m", "venv", "--clear", str(VENV)]],
        [bare, [sys.executable, "-m", "pip", "--python", str(PYTHON), "install", "-q", "pip"]],
        [["uv", "venv", "--clear", "--seed", "--python", sys.executable, str(VENV)]],
        [["virtualenv", "--clear", "--python", sys.executable, str(VENV)]],
    ]
    for commands in ways:
        if all(works(*command) for command in commands):
            return
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    sys.exit(
        f"run.py: {sys.executable} cannot create a virtual environment. On Debian and Ubuntu: "
        f"sudo apt install python{version}-venv python3-pip"
    )


def install_torch(index: str | None) -> None:
    """torch before the rest, so that a machine without an NVIDIA GPU gets no gigabytes of CUDA.

    With --no-deps a second index can supply torch and nothing else.
    """
    torch = re.search(r"^torch==\S+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[0]
    if index is not None:
        say(f"installing {torch} from {index}")
        if not pip("install", "--no-deps", "--index-url", index, torch):
            sys.exit(f"run.py: {index} has no {torch} for this machine, see above")
    elif works(PYTHON, "-m", "pip", "install", "--no-index", "--no-deps", torch):
        say(f"{torch} is here: a local wheel, or installed before")
    elif sys.platform == "linux" and not has_nvidia_driver():
        say(f"installing {torch} for CPU from {CPU_TORCH_INDEX}")
        if not pip("install", "--no-deps", "--retries", "1", "--index-url", CPU_TORCH_INDEX, torch):
            say("warning: that index failed; pip's usual one may bring gigabytes of CUDA")


def has_nvidia_driver() -> bool:
    """Whether this machine has a driver that CUDA needs."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def restart_with_newer_python() -> None:
    """Become the newest Python on PATH that is new enough."""
    for minor in range(19, OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        # A version manager puts names on PATH that it then refuses to run.
        if found is not None and works(found, "--version"):
            os.execv(found, [found, *sys.argv])
    have = ".".join(map(str, sys.version_info[:3]))
    sys.exit(f"run.py: Python {OLDEST[0]}.{OLDEST[1]} or newer is needed, this is {have}")


def take_option(arguments: list[str], name: str) -> tuple[str | None, list[str]]:
    """The value of `--name VALUE` or `--name=VALUE`, and the other arguments."""
    for position, argument in enumerate(arguments):
        before, after = arguments[:position], arguments[position + 1 :]
        if argument == name and after:
            return after[0], before + after[1:]
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2], before + after
    return None, arguments


def workers() -> int:
    """Test processes: one per core that we may use, but not so many that starting them is all."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(usable or 1, 8)


def pip(*arguments: str) -> bool:
    """Run the environment's pip, its errors in sight."""
    options = ["-q", "--disable-pip-version-check"]
    return subprocess.call([str(PYTHON), "-m", "pip", *arguments, *options]) == 0


def works(*command: str | Path) -> bool:
    """Run a command in silence; whether there is one and it succeeds."""
    try:
        return subprocess.run([str(part) for part in command], capture_output=True).returncode == 0
    except OSError:
        return False


def say(text: str) -> None:
    """One line about what takes its time."""
    print(f"run.py: {text}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
