"""Sessions in a cookie, proof that a change comes from our own page, and strict headers."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from instructgpt.storage.label_access import SESSION_LASTS, LabelAccess, Person

SESSION_COOKIE = "instructgpt_session"
_LARGEST_BODY = 1 << 20
_HEADERS = {
    # Texts are shown as text; even if one were not, it could load and run nothing.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Stands around the application: sizes, origins, headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = _refusal(scope)
        await (refusal or self._app)(scope, receive, with_headers)


def _refusal(scope: Scope) -> Response | None:
    if scope["method"] in ("GET", "HEAD"):
        return None
    headers = Headers(scope=scope)
    length = headers.get("content-length", "")
    if not length.isdecimal():
        return JSONResponse({"error": "give the length of the request"}, 411)
    if int(length) > _LARGEST_BODY:
        return JSONResponse({"error": f"more than {_LARGEST_BODY} bytes"}, 413)
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers.get("host", ""):
        return JSONResponse({"error": "the request comes from another site"}, 403)
    return None


def csrf_token(session: str) -> str:
    """What our own page sends with every change; another site cannot know it."""
    return hmac.new(session.encode(), b"csrf", hashlib.sha256).hexdigest()


def person_of(request: Request, access: LabelAccess) -> Person | None:
    """Who asks, by the cookie."""
    session = request.cookies.get(SESSION_COOKIE)
    return None if not session else access.who(session)


def checked_person(request: Request, access: LabelAccess) -> Person:
    """Who wants to change something. Errors: HTTPException 401, and 403 for a forged request."""
    person = person_of(request, access)
    if person is None:
        raise HTTPException(401, "signed out")
    expected = csrf_token(request.cookies[SESSION_COOKIE])
    if not hmac.compare_digest(request.headers.get("x-csrf-token", "").encode(), expected.encode()):
        raise HTTPException(403, "the request does not come from our page; reload it")
    return person


def set_session(response: Response, request: Request, session: str) -> None:
    """Sign this browser in; scripts and other sites cannot use the cookie."""
    response.set_cookie(
        SESSION_COOKIE,
        session,
        max_age=int(SESSION_LASTS.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
