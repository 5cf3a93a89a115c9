"""One OpenAI-compatible endpoint: a chat request goes out, a reply or an error comes back.

What may pass (429, 5xx, a broken connection, no answer in time) is tried again, after a wait that
doubles and varies, or as long as the server's Retry-After says. What will not pass is an error
at once. The key is in one header and in no message.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from instructgpt.errors import ConfigError, RemoteError

if TYPE_CHECKING:
    from httpx2 import Response

logger = logging.getLogger(__name__)

Wait = Callable[[float], bool]
"""wait(seconds) -> whether to give up instead of trying again."""

_RETRIED = {408, 409, 425, 429, 500, 502, 503, 504, 529}
# What the endpoint does not like about one question; others may be answered.
_REFUSED = {400, 413, 422}
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0
_PAUSE_WORTH_A_LINE = 10.0
_MAX_REPLY_BYTES = 16 << 20
_BODY_SHOWN = 300


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: the text, and the tokens that were counted where the endpoint says so."""

    text: str
    tokens_in: int | None
    tokens_out: int | None


def chat_url(base_url: str) -> str:
    """Where chat completions are."""
    return f"{base_url.rstrip('/')}/chat/completions"


def require_extra() -> None:
    """Errors: ConfigError when httpx2 is not installed."""
    if find_spec("httpx2") is None:
        raise ConfigError("an AI judge needs httpx2: pip install 'instructgpt[judge]'")


class Refused(Exception):
    """The endpoint takes no such question; the message carries status and body."""


class Stopped(Exception):
    """Somebody asked to give up while this request waited to be tried again."""


class _Passing(Exception):
    """A failure that may pass. `wait`: seconds that the server asks for."""

    def __init__(self, what: str, wait: float | None = None) -> None:
        super().__init__(what)
        self.wait = wait


class Endpoint:
    """Chat completions of one server, inside `with`. Safe to share between threads.

    timeout: seconds for one try, until the last byte. attempts: tries of one request.
    """

    def __init__(
        self,
        base_url: str,
        key: str | None = None,
        *,
        timeout: float = 120.0,
        attempts: int = 6,
        connections: int = 8,
        proxy: str | None = None,
    ) -> None:
        import httpx2

        self.url = chat_url(base_url)
        self._key = key
        self._timeout = timeout
        self._attempts = attempts
        self._client = httpx2.Client(
            headers={} if key is None else {"Authorization": f"Bearer {key}"},
            timeout=timeout,
            limits=httpx2.Limits(max_connections=connections),
            proxy=proxy,
            trust_env=False,  # proxies and .netrc of the environment were not asked for
        )

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, *_error: object) -> None:
        self._client.close()

    def ask(self, body: dict[str, Any], wait: Wait) -> Reply:
        """The reply to one request.

        Errors: Refused for this request, Stopped when `wait` says so, RemoteError for all others.
        """
        for attempt in range(1, self._attempts + 1):
            try:
                return self._try(body)
            except _Passing as error:
                if attempt == self._attempts:
                    raise self._failed(f"{error}, in {attempt} tries") from error
                backoff = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (attempt - 1))
                # spread out, so that requests that failed together do not come back together
                pause = error.wait if error.wait is not None else backoff * random.uniform(0.5, 1.0)
                if pause >= _PAUSE_WORTH_A_LINE:
                    logger.warning("%s: %s; next try in %.0f s", self.url, error, pause)
                if wait(pause):
                    raise Stopped from error
        raise AssertionError("attempts is at least 1")

    def _try(self, body: dict[str, Any]) -> Reply:
        import httpx2

        until = time.monotonic() + self._timeout
        try:
            with self._client.stream("POST", self.url, json=body) as response:
                content = b""
                for chunk in response.iter_bytes():
                    content += chunk
                    if time.monotonic() > until:
                        raise _Passing(f"no whole answer within {self._timeout:g} s")
                    if len(content) > _MAX_REPLY_BYTES:
                        raise self._failed(f"a reply over {_MAX_REPLY_BYTES} bytes")
        except httpx2.TimeoutException as error:
            raise _Passing(f"no answer within {self._timeout:g} s") from error
        except httpx2.TransportError as error:
            raise _Passing(f"{type(error).__name__}: {error}") from error
        return self._read(response, content.decode("utf-8", "replace"))

    def _read(self, response: Response, text: str) -> Reply:
        status = response.status_code
        if status == 200:
            return _reply(text)
        what = f"{status} {self._without_key(' '.join(text.split()))[:_BODY_SHOWN]}".rstrip()
        if status in _REFUSED:
            raise Refused(what)
        # an empty account answers 429 as well, but waiting fills no account
        if status in _RETRIED and "insufficient_quota" not in text:
            raise _Passing(what, _retry_after(response.headers.get("retry-after")))
        raise self._failed(what)

    def _failed(self, what: str) -> RemoteError:
        return RemoteError(f"{self.url}: {what}")

    def _without_key(self, text: str) -> str:
        return text if self._key is None else text.replace(self._key, "***")


def _reply(text: str) -> Reply:
    """The first choice of a chat completion; one that says nothing is an empty text."""
    try:
        data = json.loads(text)
        content = data["choices"][0]["message"].get("content") or ""
        usage = data.get("usage") or {}
        counts = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _Passing(f"no chat completion but {text[:_BODY_SHOWN]!r}") from error
    if not isinstance(content, str):
        raise _Passing(f"content that is no text: {str(content)[:_BODY_SHOWN]}")
    tokens_in, tokens_out = (c if type(c) is int and c >= 0 else None for c in counts)
    return Reply(content, tokens_in, tokens_out)


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date; None for anything else."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
