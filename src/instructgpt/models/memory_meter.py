"""How much memory a device has left, and the most that this process has held of it."""

from __future__ import annotations

import os
import re
import resource
import sys
from pathlib import Path

import torch
from torch import nn

_STATUS = Path("/proc/self/status")
_GROUP = Path("/sys/fs/cgroup")


def available_bytes(device: torch.device) -> int | None:
    """What can still be allocated; None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    left = [_meminfo("MemAvailable"), _group_left()]
    return min((value for value in left if value is not None), default=None)


def used_bytes(device: torch.device) -> int | None:
    """What this process holds now."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    return _status("VmRSS")


def make_resident(module: nn.Module) -> None:
    """Read every weight once: a loaded file counts as used only where it was read."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.device.type == "cpu":
            tensor.sum()


def restart_peak(device: torch.device) -> bool:
    """Forget earlier peaks. False where that is not possible, and the peak is the process's."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_bytes(device: torch.device) -> int:
    """The most that was held since `restart_peak`."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    measured = _status("VmHWM")
    if measured is not None:
        return measured
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _meminfo(name: str) -> int | None:
    path = Path("/proc/meminfo")
    if path.exists():
        return _kilobytes(path, name)
    pages = os.sysconf("SC_PHYS_PAGES")
    return pages * os.sysconf("SC_PAGE_SIZE") if pages > 0 else None


def _status(name: str) -> int | None:
    return _kilobytes(_STATUS, name) if _STATUS.exists() else None


def _kilobytes(path: Path, name: str) -> int | None:
    match = re.search(rf"^{name}:\s+(\d+) kB$", path.read_text(), re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def _group_left() -> int | None:
    """What the container's limit leaves."""
    limit, used = _GROUP / "memory.max", _GROUP / "memory.current"
    if not limit.exists() or not used.exists() or limit.read_text().strip() == "max":
        return None
    return int(limit.read_text()) - int(used.read_text())
