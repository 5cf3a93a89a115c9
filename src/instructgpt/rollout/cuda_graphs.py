"""CUDA graphs: the kernel launches of a function, recorded and repeated in one call."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import torch

from instructgpt.rollout.recorded_step import Recorder


def recorder_for(device: torch.device) -> Callable[[], Recorder] | None:
    """What makes recorders for this device; None where launches cannot be recorded."""
    return GraphRecorder if device.type == "cuda" else None


class GraphRecorder:
    """Records functions into graphs that share their memory, so only one may run at a time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, run: Callable[[], None]) -> Callable[[], None]:
        """Record `run`, which must have run before: first uses allocate what a graph may not.

        Errors: RuntimeError when `run` waits for the device, as a model that looks at its
        numbers does.
        """
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        # Not torch.cuda.graph: it leaves its stream in place when the recording fails.
        with torch.cuda.stream(torch.cuda.Stream()), _uncached_autocast():
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                run()
            except BaseException:
                with suppress(RuntimeError):  # says again that the recording has failed
                    graph.capture_end()
                _end_recording()
                raise
            graph.capture_end()
        return graph.replay


def _end_recording() -> None:
    """After a failed recording random numbers would wait for its end for ever: end a good one."""
    graph = torch.cuda.CUDAGraph()
    graph.capture_begin(capture_error_mode="thread_local")
    torch.zeros(1, device="cuda")
    graph.capture_end()


def _uncached_autocast() -> torch.autocast:
    """Autocast as it is, but every cast is made anew: cached ones are freed, and graphs are not."""
    return torch.autocast(
        "cuda",
        enabled=torch.is_autocast_enabled("cuda"),
        dtype=torch.get_autocast_dtype("cuda"),
        cache_enabled=False,
    )
