"""Errors as OpenAI's clients expect them: a status, and {"error": {message, type, param, code}}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ApiError(Exception):
    """A request that gets an error instead of an answer.

    4xx is the client's to mend; clients repeat 429 and 5xx by themselves, so that a wrong request
    must never get one of those.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The JSON that clients read."""
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.code,
            }
        }


def unsupported(param: str, why: str = "this server does not support it") -> ApiError:
    """A setting that would change the meaning of the answer and cannot be honoured."""
    return ApiError(
        400, f"'{param}': {why}; leave it out", code="unsupported_parameter", param=param
    )


def invalid(param: str, message: str) -> ApiError:
    """A value that is wrong."""
    return ApiError(400, f"'{param}': {message}", code="invalid_value", param=param)


def wrong_key() -> ApiError:
    """401; says nothing of what was sent."""
    return ApiError(
        401,
        "missing or wrong API key; send it as 'Authorization: Bearer KEY'",
        code="invalid_api_key",
        headers={"WWW-Authenticate": "Bearer"},
    )


def no_such_model(name: str, known: list[str]) -> ApiError:
    """404 for a model that is not served here."""
    return ApiError(
        404,
        f"the model '{name}' is not served here; there is {', '.join(known)}",
        code="model_not_found",
        param="model",
    )


def too_many(message: str, code: str, retry_after: float) -> ApiError:
    """429 with the seconds to wait."""
    headers = {"Retry-After": str(max(1, round(retry_after)))}
    return ApiError(429, message, kind="rate_limit_error", code=code, headers=headers)


def too_large(limit: int) -> ApiError:
    """413 for a body over the limit."""
    return ApiError(
        413, f"the request is larger than {limit} bytes, the limit here", code="request_too_large"
    )


def engine_down() -> ApiError:
    """503: the engine has failed or is going down; nothing about the request is wrong."""
    return ApiError(
        503, "the model is not available; see the server's log", kind="server_error", code="down"
    )
