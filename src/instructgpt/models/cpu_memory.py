"""Memory of large tensors on a CPU: kept for the next one, as PyTorch keeps it on a GPU."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable

# <malloc.h> of glibc
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4

_CHOSEN = ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory() -> None:
    """Let glibc keep what tensors free, for this whole process, unless its user has set it up.

    By default every tensor of more than 32 MB is a mapping of its own, whose pages the kernel hands
    out, zeroed, one by one at first use: at 124M parameters a tenth of the time of a training step
    (docs/LOG.md, 2026-11-26). The most memory that is held at once grows by its holes, 4 to 8 %
    there; it is held on to until `give_back_memory`. Other C libraries and systems are left as they
    are.
    """
    mallopt = _of_the_c_library("mallopt")
    if mallopt is not None and not any(name in os.environ for name in _CHOSEN):
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def give_back_memory() -> None:
    """Return to the system what tensors have freed: before something that needs it otherwise."""
    malloc_trim = _of_the_c_library("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _of_the_c_library(name: str) -> Callable[..., int] | None:
    """A function of glibc's; None elsewhere."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
