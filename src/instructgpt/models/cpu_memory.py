"""Memory of large tensors on a CPU: kept for the next one, as PyTorch keeps it on a GPU."""

from __future__ import annotations

import ctypes
import os
import sys

# <malloc.h> of glibc
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4

_CHOSEN = ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory() -> None:
    """Let glibc keep what tensors free, for this whole process, unless its user has set it up.

    By default every tensor of more than 32 MB is a mapping of its own, whose pages the kernel hands
    out, zeroed, one by one at first use: at 124M parameters a sixth of the time of a training step
    (docs/LOG.md, 2026-11-26). The most memory that is held at once stays the same; it is held to
    the end. Other C libraries and systems are left as they are.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _CHOSEN):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
