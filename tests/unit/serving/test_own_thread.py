"""Work beside an engine leaves no threads of OpenMP behind, and fails as it would in place."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from instructgpt.errors import DataError
from instructgpt.serving.own_thread import in_own_thread


def test_results_and_errors_come_out() -> None:
    seen = []
    assert in_own_thread(lambda: seen.append(threading.current_thread()) or 7) == 7
    assert seen[0] is not threading.current_thread()
    assert not seen[0].is_alive()
    with pytest.raises(DataError, match="no such row"):
        in_own_thread(lambda: (_ for _ in ()).throw(DataError("no such row")))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads as Linux does")
def test_no_threads_of_openmp_stay_behind() -> None:
    program = (
        "import os, time, torch\n"
        "from instructgpt.serving.own_thread import in_own_thread\n"
        "def threads():\n"
        "    time.sleep(0.5)\n"
        "    return len(os.listdir('/proc/self/task'))\n"
        "work = torch.ones(3_000_000).exp\n"
        "torch.set_num_threads(3)\n"
        "before = threads()\n"
        "in_own_thread(work)\n"
        "print(threads() - before)\n"
        "work()\n"
        "print(threads() - before)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "2"]  # the last: how they stay where nobody takes care
