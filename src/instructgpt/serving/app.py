"""The application: OpenAI's endpoints, a reward endpoint, health and metrics."""

from __future__ import annotations

import asyncio
import base64
import struct
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import takewhile
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response

from instructgpt.serving.answering import Answer
from instructgpt.serving.chat_page import add_page
from instructgpt.serving.errors import ApiError, unsupported
from instructgpt.serving.forms import ChatForm, CompletionForm
from instructgpt.serving.gate import Gate, error_response
from instructgpt.serving.generation import Inbox
from instructgpt.serving.host import Host
from instructgpt.serving.loop_page import add_loop_page
from instructgpt.serving.schemas import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    RewardRequest,
)
from instructgpt.serving.served_model import ServedModel

_COMPLETION_TOKENS = 16  # what /v1/completions gives when nobody says how much


def create_app(host: Host) -> Gate:
    """The ASGI application around `host`; its engines run as long as the application does."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        host.start()
        yield
        if host.loop is not None:
            await host.loop.stop()
        await asyncio.to_thread(host.stop)

    app = FastAPI(title="instructgpt", docs_url=None, redoc_url=None, lifespan=lifespan)
    _add_error_handlers(app)
    _add_generation(app, host)
    _add_measures(app, host)
    _add_state(app, host)
    add_page(app, host)
    add_loop_page(app, host)
    return Gate(app, host)


def _add_generation(app: FastAPI, host: Host) -> None:
    @app.post("/v1/chat/completions")
    async def chat(body: ChatRequest, request: Request) -> Response:
        """Answer a conversation."""
        model, inbox = host.model(body.model), Inbox()
        messages = [message.to_message(i) for i, message in enumerate(body.messages)]
        prompt_ids = await asyncio.to_thread(model.chat_ids, messages)
        limit = body.max_completion_tokens or body.max_tokens
        generation = model.generation(prompt_ids, body, inbox, max_tokens=limit, top=body.top)
        form = ChatForm(model, logprobs=body.top is not None)
        return await Answer(host, model, form, body, [generation], inbox).respond(request)

    @app.post("/v1/completions")
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """Continue texts."""
        model, inbox = host.model(body.model), Inbox()
        if body.echo and body.logprobs is not None:
            raise unsupported("echo", "log-probs of the prompt are not computed")
        prompts = await asyncio.to_thread(_prompt_ids, model, body)
        n = body.n or 1
        limit = body.max_tokens or _COMPLETION_TOKENS
        generations = [
            model.generation(
                ids, body, inbox, first_choice=i * n, max_tokens=limit, top=body.logprobs, key=i
            )
            for i, ids in enumerate(prompts)
        ]
        echo = [_text(model, body, i // n, prompts) for i in range(len(prompts) * n)]
        form = CompletionForm(model, body.logprobs is not None, echo if body.echo else None)
        return await Answer(host, model, form, body, generations, inbox).respond(request)


def _add_measures(app: FastAPI, host: Host) -> None:
    @app.post("/v1/embeddings")
    async def embeddings(body: EmbeddingRequest) -> Response:
        """Mean hidden states of instructions."""
        model = host.model(body.model)
        ignored = body.ignored()
        inputs = await asyncio.to_thread(_embedding_ids, model, body)
        vectors = await asyncio.to_thread(model.embeddings, inputs)
        data = [
            {"object": "embedding", "index": i, "embedding": _encoded(vector, body.encoding_format)}
            for i, vector in enumerate(vectors)
        ]
        tokens = sum(map(len, inputs))
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return _listed(data, ignored, model=model.name, usage=usage)

    @app.post("/v1/rewards")
    async def rewards(body: RewardRequest) -> Response:
        """What the reward model says of conversations."""
        if host.reward is None:
            raise ApiError(
                404, "no reward model is served; start with --reward-model", code="no_reward_model"
            )
        ignored = body.ignored()
        conversations = [
            [message.to_message(i) for i, message in enumerate(messages)]
            for messages in body.conversations
        ]
        scores = await asyncio.to_thread(host.reward.scores, conversations)
        data = [{"object": "reward", "index": i, "score": s} for i, s in enumerate(scores)]
        return _listed(data, ignored, model=host.reward.name)


def _add_state(app: FastAPI, host: Host) -> None:
    started = int(time.time())

    def described(name: str) -> dict[str, Any]:
        model = host.model(name)
        about = {"id": name, "object": "model", "created": started}
        if name != model.name:
            about["root"] = model.name  # which one the loop's name means at the moment
        if model.tasks:
            about["tasks"] = model.tasks
        return {**about, "owned_by": "instructgpt", "max_model_len": model.engine.max_context}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """What is served, a loop's own name first: many clients take the first."""
        names = list(host.models) if host.loop_name is None else [host.loop_name, *host.models]
        return {"object": "list", "data": [described(name) for name in names]}

    @app.get("/v1/models/{name:path}")
    async def one_model(name: str) -> dict[str, Any]:
        """One of them."""
        return described(name)

    @app.get("/health")
    async def health() -> Response:
        """200 while every engine answers and a loop is followed, else 503."""
        state = "ok" if host.healthy else "down"
        return JSONResponse({"status": state}, status_code=200 if host.healthy else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        """Counts for Prometheus."""
        return PlainTextResponse(
            host.metrics.text(host.gauges()), media_type="text/plain; version=0.0.4"
        )


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def api_error(_request: Request, error: ApiError) -> Response:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def wrong_request(_request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        param = _path(first["loc"][1:]) or None
        message = f"'{param}': {first['msg']}" if param else first["msg"]
        return error_response(ApiError(400, message, code="invalid_value", param=param))

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        message = f"{request.method} {request.url.path}: {error.detail}"
        return error_response(ApiError(error.status_code, message, headers=error.headers))

    @app.exception_handler(500)
    async def our_fault(_request: Request, _error: Exception) -> Response:
        message = "the server failed at this request; its log says why"
        return error_response(ApiError(500, message, kind="server_error"))


def _path(location: Sequence[int | str]) -> str:
    """messages[0].content; what pydantic adds to name a type of a union is left out."""
    fields = takewhile(
        lambda part: isinstance(part, int) or (part.isidentifier() and part != "str"), location
    )
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in fields]
    return "".join(parts).lstrip(".")


def _prompt_ids(model: ServedModel, body: CompletionRequest) -> list[list[int]]:
    prompt = body.prompt
    if isinstance(prompt, str):
        return [model.text_ids(prompt)]
    if all(isinstance(part, int) for part in prompt):
        return [prompt]
    return [model.text_ids(part) if isinstance(part, str) else part for part in prompt]


def _text(model: ServedModel, body: CompletionRequest, index: int, prompts: list[list[int]]) -> str:
    """A prompt's text, to be echoed."""
    if isinstance(body.prompt, str):
        return body.prompt
    part = body.prompt[index] if len(prompts) == len(body.prompt) else None
    return part if isinstance(part, str) else model.renderer.decode(prompts[index])


def _embedding_ids(model: ServedModel, body: EmbeddingRequest) -> list[list[int]]:
    parts = body.input
    if isinstance(parts, str) or (parts and isinstance(parts[0], int)):
        parts = [parts]
    inputs = [model.embedding_ids(part) if isinstance(part, str) else part for part in parts]
    for ids in inputs or [[]]:
        model.check_embedding(ids)
    return inputs


def _encoded(vector: list[float], encoding: str) -> list[float] | str:
    if encoding == "float":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _listed(data: list[dict[str, Any]], ignored: list[str], **more: Any) -> Response:
    headers = {"x-ignored-parameters": ", ".join(ignored)} if ignored else {}
    return JSONResponse({"object": "list", "data": data, **more}, headers=headers)
