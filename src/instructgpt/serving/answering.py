"""From generations to a response: all at once or as a stream, and nothing once nobody listens."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from instructgpt import __version__
from instructgpt.serving.errors import ApiError, engine_down
from instructgpt.serving.generation import Generation, Inbox, Piece
from instructgpt.serving.host import Host
from instructgpt.serving.schemas import SamplingRequest
from instructgpt.serving.served_model import ServedModel

_GONE = 499  # nginx's number for a client that closed the connection; nobody sees it but the counts


class Form(ABC):
    """How one endpoint writes its choices."""

    whole: str
    """`object` of a whole response."""
    chunk: str
    """`object` of a chunk of a stream."""
    prefix: str
    """Beginning of the response's id."""

    @abstractmethod
    def opening(self, index: int) -> dict[str, Any] | None:
        """A stream's first choice of this index, if there is one before any text."""

    @abstractmethod
    def deltas(self, index: int, piece: Piece) -> list[dict[str, Any]]:
        """The choices of a stream that carry a piece."""

    @abstractmethod
    def choice(self, index: int, piece: Piece) -> dict[str, Any]:
        """The whole answer; the piece holds all of it."""


class Answer:
    """Generations that make up one response."""

    def __init__(
        self,
        host: Host,
        model: ServedModel,
        form: Form,
        asked: SamplingRequest,
        generations: Sequence[Generation],
        inbox: Inbox,
    ) -> None:
        self._host = host
        self._admission = host.admission(model)
        self._model = model
        self._form = form
        self._generations = generations
        self._inbox = inbox
        self._num_choices = sum(generation.n for generation in generations)
        self._ignored = asked.ignored()
        self._stream = bool(asked.stream)
        options = asked.stream_options
        self._usage_wanted = options is not None and options.include_usage
        self._counts: dict[int, int] = {}
        self._head = {
            "id": f"{form.prefix}-{uuid.uuid4().hex}",
            "object": form.chunk if self._stream else form.whole,
            "created": int(time.time()),
            "model": model.name,
            "system_fingerprint": f"instructgpt-{__version__}",
        }

    async def respond(self, request: Request) -> Response:
        """Run to the end, or until the client goes. Errors: ApiError 429 and 503, at once."""
        self._admission.enter(self._num_choices)
        headers = {"x-ignored-parameters": ", ".join(self._ignored)} if self._ignored else {}
        for generation in self._generations:
            self._loop.submit(generation)
        if self._stream:
            return _Stream(self, self._events(), headers=headers)
        try:
            return await self._whole(request, headers)
        finally:
            self.release()

    def release(self) -> None:
        """Free what is still held."""
        for generation in self._generations:
            self._loop.cancel(generation)
        self._admission.leave(self._num_choices)

    @property
    def _loop(self) -> Any:
        if self._model.loop is None:
            raise engine_down()
        return self._model.loop

    async def _whole(self, request: Request, headers: dict[str, str]) -> Response:
        collecting = asyncio.create_task(self._choices())
        leaving = asyncio.create_task(_disconnected(request))
        try:
            await asyncio.wait({collecting, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not collecting.done():
                self._host.metrics.disconnected += 1
                return Response(status_code=_GONE)
            body = {**self._head, "choices": collecting.result(), "usage": self._usage()}
            return JSONResponse(body, headers=headers)
        finally:
            collecting.cancel()
            leaving.cancel()

    async def _choices(self) -> list[dict[str, Any]]:
        choices = {i: self._form.choice(i, piece) async for i, piece in self._pieces()}
        return [choices[index] for index in sorted(choices)]

    async def _pieces(self) -> AsyncIterator[tuple[int, Piece]]:
        left = self._num_choices
        while left:
            arrived = await self._inbox.get()
            if arrived is None:
                raise engine_down()
            index, piece = arrived
            self._counts[index] = piece.completion_tokens
            left -= piece.finish_reason is not None
            yield arrived

    async def _events(self) -> AsyncIterator[bytes]:
        started, waiting = time.monotonic(), True
        for index in range(self._num_choices):
            if (opening := self._form.opening(index)) is not None:
                yield self._event([opening])
        try:
            async for index, piece in self._pieces():
                if waiting:
                    self._host.metrics.first_token_seconds.observe(time.monotonic() - started)
                    waiting = False
                for choice in self._form.deltas(index, piece):
                    yield self._event([choice])
        except ApiError as error:
            yield _data(error.body())
            return
        if self._usage_wanted:
            yield self._event([], usage=self._usage())
        yield b"data: [DONE]\n\n"

    def _event(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return _data({**self._head, "choices": choices, **more})

    def _usage(self) -> dict[str, int]:
        prompt = sum(len(generation.prompt_ids) for generation in self._generations)
        completion = sum(self._counts.values())
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }


class _Stream(StreamingResponse):
    """Frees what its answer holds however it ends, also when it never began."""

    def __init__(
        self, answer: Answer, events: AsyncIterator[bytes], headers: dict[str, str]
    ) -> None:
        headers = {**headers, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answer.release()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _data(body: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(body, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()
