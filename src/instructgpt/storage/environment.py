"""What a result depends on besides its settings: machine, versions, and the state of the source."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("torch", "transformers", "numpy")
_COMMAND_SECONDS = 10


def describe_environment() -> dict[str, Any]:
    """Versions, platform, processor and threads; imports no package to find out.

    Devices and the number of threads are torch's if torch is already imported, because they can
    be changed at run time; otherwise `threads` is what the environment asks for.
    """
    torch = sys.modules.get("torch")
    devices: list[str] = []
    if torch is not None and torch.cuda.is_available():
        devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    asked = os.environ.get("OMP_NUM_THREADS")
    return {
        "python": platform.python_version(),
        "packages": {name: package_version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": _usable_cores(),
        "threads": torch.get_num_threads() if torch is not None else asked or _usable_cores(),
        "devices": devices,
    }


def describe_source() -> dict[str, Any] | None:
    """Git revision of the running package, and whether tracked files differ from it.

    None when the package does not run from a git checkout of its own (an installed wheel).
    """
    here = Path(__file__).resolve()
    # an installed copy may lie inside somebody else's repository, whose revision says nothing
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return None
    revision = _git(here.parent, "rev-parse", "HEAD")
    if revision is None:
        return None
    changes = _git(here.parent, "status", "--porcelain", "--untracked-files=no")
    return {"revision": revision, "dirty": bool(changes)}


def utc_now() -> str:
    """The time as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def package_version(name: str) -> str | None:
    """The installed version of a package, without importing it; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str | None:
    """Output of a git command; None when it fails or there is no git."""
    return _output("git", "--no-optional-locks", "-C", str(folder), *arguments)


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _cpu_model() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    return platform.processor() or platform.machine()


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
