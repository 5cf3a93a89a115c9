"""The chat page: static files, no build step, nothing from other hosts."""

from __future__ import annotations

import asyncio
from importlib.resources import files

from fastapi import FastAPI
from starlette.responses import JSONResponse, Response

from instructgpt.serving.errors import ApiError
from instructgpt.serving.feedback import FeedbackRequest, ForgetRequest
from instructgpt.serving.host import Host

_TYPES = {"css": "text/css", "js": "text/javascript", "html": "text/html"}
_FILES = ("chat.css", "chat.js", "api.js", "words.js", "loop.css", "loop.js", "loop_words.js")
_HEADERS = {
    # Answers are shown as text; even if one were not, it could load and run nothing.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def add_page(app: FastAPI, host: Host) -> None:
    """The page at /, its files under /page/, and the endpoint that takes its verdicts."""

    @app.get("/")
    async def page() -> Response:
        """The page; it asks for a key itself where one is needed."""
        return page_file("index.html")

    @app.get("/page/{name}")
    async def part(name: str) -> Response:
        """Its styles and scripts."""
        if name not in _FILES:
            raise ApiError(404, f"no file '{name}'")
        return page_file(name)

    @app.get("/v1/feedback")
    async def can_take_feedback() -> dict[str, bool]:
        """Whether verdicts are stored; whether they decide between two models of a loop."""
        loop = host.loop
        return {
            "enabled": host.feedback is not None,
            "loop": loop is not None,
            "comparing": loop is not None and loop.state.comparison is not None,
        }

    @app.post("/v1/feedback")
    async def feedback(body: FeedbackRequest) -> Response:
        """Keep a prompt, or a verdict on answers."""
        if host.feedback is None:
            raise ApiError(404, "verdicts are not stored; start with --feedback FOLDER")
        outcome = await asyncio.to_thread(host.feedback.record, body)
        stored = outcome == "stored"
        return JSONResponse({"stored": stored, "reason": None if stored else outcome})

    @app.delete("/v1/feedback")
    async def forget(body: ForgetRequest) -> Response:
        """Take back what a user gave; who knows the random name is that user."""
        if host.feedback is None:
            raise ApiError(404, "nothing is stored; start with --feedback FOLDER")
        return JSONResponse({"removed": await asyncio.to_thread(host.feedback.forget, body.user)})


def page_file(name: str) -> Response:
    """A file of the pages, with headers that let it load nothing from elsewhere."""
    content = (files("instructgpt.serving") / "page" / name).read_bytes()
    kind = _TYPES[name.rpartition(".")[2]]
    return Response(content, media_type=f"{kind}; charset=utf-8", headers=_HEADERS)
