"""Facts about this machine and installation, each with its remedy where something is amiss."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

from instructgpt import __version__
from instructgpt.storage.environment import describe_environment, package_version

# A finished quickstart takes well under this; a full disk in the middle of one is no fun.
_ROOM_WANTED_GB = 2.0
_PACKAGES = ("torch", "transformers", "tokenizers", "pydantic", "numpy", "matplotlib", "sacrebleu")


@dataclass(frozen=True)
class Finding:
    """One fact. `remedy` is what to do about it, empty when all is well."""

    what: str
    found: str
    remedy: str = ""
    is_fatal: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def examine() -> list[Finding]:
    """Everything worth knowing, most basic first; imports torch."""
    return [
        Finding("instructgpt", f"{__version__} in {Path(__file__).parents[1]}"),
        Finding("python", f"{platform.python_version()} ({sys.executable})"),
        *_packages(),
        *_processors(),
        *_extras(),
        _disk(),
        _text(),
    ]


def _packages() -> Iterator[Finding]:
    for name in _PACKAGES:
        found = package_version(name)
        if found is None:
            yield Finding(name, "missing", f"pip install {name}", is_fatal=True)
        else:
            yield Finding(name, found)


def _processors() -> Iterator[Finding]:
    try:
        import torch
    except ImportError as error:
        yield Finding("devices", str(error), "reinstall torch", is_fatal=True)
        return
    from instructgpt.models.precision import choose_device, choose_dtype

    facts = describe_environment()
    yield Finding("cpu", f"{facts['cpu']}, {facts['cores']} cores, {facts['threads']} threads")
    yield _gpus()
    device = choose_device("auto")
    dtype, why = choose_dtype("auto", device)
    yield Finding("computes on", f"{device} in {str(dtype).removeprefix('torch.')}: {why}")
    if torch.backends.mps.is_available():
        yield Finding("mps", "available; not chosen by itself, use --hardware.device mps")


def _gpus() -> Finding:
    import torch

    if torch.cuda.is_available():
        found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        return Finding(
            "gpus", ", ".join(f"{gpu.name} ({gpu.total_memory / 2**30:.0f} GiB)" for gpu in found)
        )
    if not Path("/proc/driver/nvidia/version").exists():
        return Finding("gpus", "none")
    if torch.version.cuda is None:
        build = f"torch {torch.__version__} is built without CUDA"
        return Finding(
            "gpus",
            f"an NVIDIA driver is loaded, but {build}",
            "pip install --force-reinstall 'torch>=2.9', which brings CUDA on Linux",
        )
    return Finding(
        "gpus",
        f"an NVIDIA driver is loaded, but torch (CUDA {torch.version.cuda}) finds no usable GPU",
        "check `nvidia-smi`; the driver may be older than that CUDA version",
    )


def _extras() -> Iterator[Finding]:
    """Optional groups of packages and what is missing from each."""
    try:
        wanted = requires("instructgpt") or []
    except PackageNotFoundError:
        yield Finding("extras", "unknown: the package is not installed", "pip install -e .")
        return
    groups: dict[str, list[str]] = {}
    for requirement in wanted:
        match = re.match(r"([\w.-]+).*extra\s*==\s*['\"](\w+)['\"]", requirement)
        if match:
            groups.setdefault(match[2], []).append(match[1])
    for extra, names in groups.items():
        missing = [name for name in names if package_version(name) is None]
        if missing:
            remedy = f"only if you need it: pip install 'instructgpt[{extra}]'"
            yield Finding(f"extra {extra}", f"missing {', '.join(missing)}", remedy)
        else:
            yield Finding(f"extra {extra}", "installed")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    found = f"{free:.1f} GB free in {os.getcwd()}"
    if free < _ROOM_WANTED_GB:
        return Finding("disk", found, f"free {_ROOM_WANTED_GB:g} GB, or work in another directory")
    return Finding("disk", found)


def _text() -> Finding:
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    if encoding == "utf8":
        return Finding("terminal", "UTF-8")
    return Finding(
        "terminal",
        f"{encoding}: Chinese text cannot be shown",
        "set a UTF-8 locale, or start with PYTHONUTF8=1",
    )
