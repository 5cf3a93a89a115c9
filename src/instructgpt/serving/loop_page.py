"""The page of a loop: what is served, how the comparison stands, how every round ended."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.responses import Response

from instructgpt.errors import InstructGPTError
from instructgpt.loop.history import HISTORY
from instructgpt.loop.places import FEEDBACK, JUDGED
from instructgpt.loop.view import view
from instructgpt.serving.chat_page import page_file
from instructgpt.serving.errors import ApiError
from instructgpt.serving.host import Host


def add_loop_page(app: FastAPI, host: Host) -> None:
    """The page at /loop and its numbers at /v1/loop; 404 where no loop is served."""

    seen = LatestView()

    @app.get("/loop")
    async def page() -> Response:
        """The page; it asks for a key itself where one is needed."""
        if host.loop is None:
            raise _no_loop()
        return page_file("loop.html")

    @app.get("/v1/loop")
    async def numbers() -> dict[str, Any]:
        """What the page shows; 503 with the line that says which file cannot be read."""
        if host.loop is None:
            raise _no_loop()
        try:
            return await asyncio.to_thread(seen, host.loop.folder)
        except (InstructGPTError, OSError) as error:
            raise ApiError(503, str(error), kind="server_error", code="unreadable") from error


class LatestView:
    """`loop.view`, computed anew only when a file that it reads has changed: many may watch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stamp: list[tuple[str, int, int]] = []
        self._view: dict[str, Any] = {}

    def __call__(self, folder: Path) -> dict[str, Any]:
        """The view of the loop in `folder`."""
        with self._lock:
            files = [folder / HISTORY, *sorted((folder / FEEDBACK).glob("*.jsonl"))]
            files += sorted((folder / "rounds").glob(f"*/comparison/{JUDGED}"))
            stats = [(str(file), file.stat()) for file in files]
            stamp = [(name, stat.st_mtime_ns, stat.st_size) for name, stat in stats]
            if stamp != self._stamp:
                self._view, self._stamp = view(folder), stamp
            return self._view


def _no_loop() -> ApiError:
    return ApiError(404, "no loop is served; start with the folder of one")
