"""`--profile`: some steps of a stage on record, for https://ui.perfetto.dev or chrome://tracing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from instructgpt.progress import announce
from instructgpt.storage.run_dir import RunDir

logger = logging.getLogger(__name__)

TRACE = "profile.json.gz"
# The first step pays for first uses. A trace holds every operation: few steps are many megabytes.
_SKIPPED, _RECORDED = 1, 3


@contextmanager
def recorded(run: RunDir) -> Iterator[Callable[[], None]]:
    """Yield what to call after each step; with `run.profiled` steps 2 to 4 go to TRACE."""
    if not (run.profiled and run.writes):
        yield lambda: None
        return
    path = run.path(TRACE)
    partial = run.path(f".{TRACE}")

    def save(recording: profile) -> None:
        recording.export_chrome_trace(str(partial))
        partial.rename(path)
        announce(f"profile   {path}")

    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    steps = schedule(wait=0, warmup=_SKIPPED, active=_RECORDED, repeat=1)
    path.unlink(missing_ok=True)
    # acc_events changes nothing in one cycle of the schedule; without it torch 2.11 warns of more.
    with profile(
        activities=activities, schedule=steps, on_trace_ready=save, acc_events=True
    ) as recording:
        yield recording.step
    if not path.exists():
        logger.warning("nothing was recorded: the stage had no step left to do")
