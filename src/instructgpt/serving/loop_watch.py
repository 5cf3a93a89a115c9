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
from instructgpt.loop.state import read_state
from instructgpt.serving.served_model import ServedModel

if TYPE_CHECKING:
    from instructgpt.serving.host import Host

_LOOK_SECONDS = 1.0
# A request may hold a model and not have reached its engine yet.
_LINGER_SECONDS = 2.0

logger = logging.getLogger(__name__)

Load = Callable[[str, str], ServedModel]
"""load(name, path of a checkpoint)"""


class LoopWatch:
    """Keeps a host's models to what the history in `folder` says. Errors: as `read_state`."""

    def __init__(self, folder: Path, load: Load) -> None:
        self.folder = folder
        self._load = load
        self._finishing: set[asyncio.Task[None]] = set()
        self._stamp = self._look()
        self.state = read_state(folder)

    def models(self) -> list[ServedModel]:
        """What is served at the start, the promoted model first. Errors: CheckpointError."""
        return [self._open(name) for name in self.state.model_names]

    async def follow(self, host: Host) -> None:
        """Take up every change, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            stamp = self._look()
            if stamp != self._stamp:
                self._stamp = stamp
                await self._take_up(host)

    async def _take_up(self, host: Host) -> None:
        state = await asyncio.to_thread(read_state, self.folder)
        before, self.state = self.state, state
        try:
            fresh = {
                name: await asyncio.to_thread(self._open, name)
                for name in state.model_names
                if name not in host.models
            }
        except InstructGPTError as error:
            self.state = before
            logger.warning("the loop has another model, which cannot be served: %s", error)
            return
        for model in fresh.values():
            await asyncio.to_thread(model.start, host.hand_over)
        gone = host.offer([fresh.get(n) or host.models[n] for n in state.model_names])
        for model in gone:  # an answer that takes an hour must not hold up the next change
            task = asyncio.create_task(self._finish(host, model))
            self._finishing.add(task)
            task.add_done_callback(self._finishing.discard)

    async def _finish(self, host: Host, model: ServedModel) -> None:
        """Free a model that went, once it has ended what it had begun."""
        await asyncio.sleep(_LINGER_SECONDS)
        await asyncio.to_thread(host.dismiss, model)

    def _open(self, name: str) -> ServedModel:
        return self._load(name, str(self.folder / self.state.model_names[name].path))

    def _look(self) -> tuple[int, int]:
        seen = (self.folder / HISTORY).stat()
        return seen.st_mtime_ns, seen.st_ino
