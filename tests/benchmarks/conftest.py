"""The benchmarks' own modules, which lie outside the package."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def benchmark_module(monkeypatch):
    """Import by name as the commands do; forgotten again after the test."""
    before = set(sys.modules)
    for folder in (BENCHMARKS, BENCHMARKS / "workloads"):
        monkeypatch.syspath_prepend(str(folder))
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if "." not in name and (getattr(sys.modules[name], "__file__", "") or "").startswith(
            str(BENCHMARKS)
        ):
            del sys.modules[name]
