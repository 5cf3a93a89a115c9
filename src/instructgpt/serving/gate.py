"""What stands before the application: keys, rates, sizes; and behind it: counts and headers."""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from instructgpt.serving.errors import ApiError, too_large
from instructgpt.serving.host import Host

_GUARDED = ("/v1/", "/metrics")


class Gate:
    """Plain ASGI, because it must pass a client's disconnection through.

    A request is judged by its headers before its body is read, and its body is read before the
    application is asked.
    """

    def __init__(self, app: ASGIApp, host: Host) -> None:
        self._app = app
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).setdefault("X-Content-Type-Options", "nosniff")
            await send(message)

        try:
            self._judge(scope)
            body = await self._body(scope, receive)
            await self._app(scope, _replayed(body, receive), watched)
        except ApiError as error:
            await error_response(error)(scope, receive, watched)
        finally:
            self._host.metrics.requests[_label(scope), status] += 1
            self._host.metrics.seconds.observe(time.monotonic() - started)

    def _judge(self, scope: Scope) -> None:
        if not scope["path"].startswith(_GUARDED):
            return
        key = self._host.keys.check(Headers(scope=scope).get("authorization", ""))
        address = scope["client"][0] if scope.get("client") else ""
        self._host.rates.check(f"key {key}" if key is not None else address)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        limit = self._host.limits.max_body_bytes
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdecimal() and int(length) > limit:
            raise too_large(limit)
        body = b""
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                break
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > limit:
                raise too_large(limit)
        return body


def error_response(error: ApiError) -> JSONResponse:
    """The error as clients expect it."""
    return JSONResponse(error.body(), status_code=error.status, headers=error.headers)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body as one message, then whatever comes: that the client has gone."""
    given = False

    async def replay() -> MutableMapping[str, Any]:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _label(scope: Scope) -> str:
    """The route's path, so that strange paths cannot fill up the metrics."""
    route = scope.get("route")
    return str(getattr(route, "path", "other"))
