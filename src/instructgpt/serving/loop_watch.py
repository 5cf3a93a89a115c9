"""Serving a loop: its promoted model, beside it an open comparison's candidate, as they change.

The history is looked at every second. A model that comes is loaded while the others answer; one
that goes gets no new requests and finishes what it has begun. So clients notice nothing of a
promotion or a rollback, if they ask for the loop's name instead of a round's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from instructgpt.errors import InstructGPTError
from instructgpt.loop.history import HISTORY
from instructgpt.loop.state import Model, read_state
from instructgpt.serving.served_model import ServedModel

if TYPE_CHECKING:
    from instructgpt.serving.host import Host

_LOOK_SECONDS = 1.0
# A request may hold a model and not have reached its engine yet.
_LINGER_SECONDS = 2.0

logger = logging.getLogger(__name__)

Load = Callable[[str, str], ServedModel]
"""load(name, path of a checkpoint)"""
Stamp = tuple[int, int]


class LoopWatch:
    """Keeps a host's models to what the history in `folder` says. Errors: as `read_state`.

    What cannot be read or loaded leaves the models as they are; it is tried again every second, and
    warned of once.
    """

    def __init__(self, folder: Path, load: Load) -> None:
        self.folder = folder
        self._load = load
        self._finishing: set[asyncio.Task[None]] = set()
        self._following: asyncio.Task[None] | None = None
        self.state = read_state(folder)
        self._stamp = self._look()
        self._warned_of: Stamp | None = None

    def models(self) -> list[ServedModel]:
        """What is served at the start, the promoted model first. Errors: CheckpointError."""
        return [self._open(model) for model in self.state.model_names.values()]

    @property
    def alive(self) -> bool:
        """Whether changes are being taken up."""
        return self._following is not None and not self._following.done()

    def start(self, host: Host) -> None:
        """Take up every change from now on, in the running event loop."""
        self._following = asyncio.create_task(self._follow(host))
        self._following.add_done_callback(_log_death)

    async def stop(self) -> None:
        """Take up no more."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])

    async def _follow(self, host: Host) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            stamp = self._look()
            if stamp == self._stamp:
                continue
            try:
                await self._take_up(host)
            except (InstructGPTError, OSError) as error:
                if stamp != self._warned_of:
                    logger.warning("the loop has changed, which cannot be served: %s", error)
                self._warned_of = stamp
            else:
                self._stamp, self._warned_of = stamp, None

    async def _take_up(self, host: Host) -> None:
        state = await asyncio.to_thread(read_state, self.folder)
        fresh = {
            name: await asyncio.to_thread(self._open, model)
            for name, model in state.model_names.items()
            if name not in host.models
        }
        for model in fresh.values():
            await asyncio.to_thread(model.start, host.hand_over)
        self.state = state
        gone = host.offer([fresh.get(n) or host.models[n] for n in state.model_names])
        for model in gone:  # an answer that takes an hour must not hold up the next change
            task = asyncio.create_task(self._finish(host, model))
            self._finishing.add(task)
            task.add_done_callback(self._finishing.discard)

    async def _finish(self, host: Host, model: ServedModel) -> None:
        """Free a model that went, once it has ended what it had begun."""
        await asyncio.sleep(_LINGER_SECONDS)
        await host.dismiss(model)

    def _open(self, model: Model) -> ServedModel:
        return self._load(model.name, str(self.folder / model.path))

    def _look(self) -> Stamp:
        """What changes with the history; it may be away for a moment, or unreadable."""
        try:
            seen = (self.folder / HISTORY).stat()
        except OSError:
            return 0, 0
        return seen.st_mtime_ns, seen.st_ino


def _log_death(following: asyncio.Task[None]) -> None:
    """A bug of ours; /health shows it, too."""
    if not following.cancelled() and (error := following.exception()) is not None:
        logger.error("the server no longer follows its loop", exc_info=error)
