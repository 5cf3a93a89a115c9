"""Who may ask, how often, how much at once."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from instructgpt.serving.errors import ApiError, too_many, wrong_key

_CALLERS_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server takes.

    max_slots: sequences that run together, per model. max_queue: sequences that may wait beside
    them. max_body_bytes: of one request. requests_per_minute: of one key, or of one address where
    there are no keys; 0 is no limit.
    """

    max_slots: int = 32
    max_queue: int = 256
    max_body_bytes: int = 1 << 20
    requests_per_minute: int = 0


class Keys:
    """The API keys; without any, everybody may ask. They are never logged."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [key.encode() for key in keys]

    def check(self, authorization: str) -> str | None:
        """Which key it is, as an index; None without keys. Errors: ApiError 401."""
        if not self._keys:
            return None
        scheme, _, sent = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise wrong_key()
        # all of them, so that the time taken says nothing
        matches = [hmac.compare_digest(sent.strip().encode(), key) for key in self._keys]
        if not any(matches):
            raise wrong_key()
        return str(matches.index(True))


class RateLimiter:
    """A bucket per caller that holds a minute's requests and fills up all the time."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # caller -> requests left, when

    def check(self, caller: str) -> None:
        """Count a request. Errors: ApiError 429 when the bucket is empty."""
        if not self._per_minute:
            return
        now = self._clock()
        left, then = self._buckets.pop(caller, (float(self._per_minute), now))
        left = min(self._per_minute, left + (now - then) * self._per_minute / 60)
        allowed = left >= 1
        self._buckets[caller] = (left - allowed, now)
        if len(self._buckets) > _CALLERS_REMEMBERED:
            del self._buckets[next(iter(self._buckets))]  # who has not asked for the longest time
        if not allowed:
            raise too_many(
                f"more than {self._per_minute} requests a minute",
                "rate_limit_exceeded",
                (1 - left) * 60 / self._per_minute,
            )


class Admission:
    """Counts the sequences of one model that run or wait."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.sequences = 0

    @property
    def running(self) -> int:
        return min(self.sequences, self._limits.max_slots)

    @property
    def waiting(self) -> int:
        return self.sequences - self.running

    def enter(self, count: int) -> None:
        """Let `count` sequences in together. Errors: ApiError 400 or 429 when they do not fit."""
        room = self._limits.max_slots + self._limits.max_queue
        if count > room:
            raise ApiError(400, f"{count} answers at once; at most {room} are possible here")
        if self.sequences + count > room:
            raise too_many(f"{self.sequences} answers are being written", "queue_full", 1)
        self.sequences += count

    def leave(self, count: int) -> None:
        """They have ended."""
        self.sequences -= count
