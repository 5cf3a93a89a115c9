"""At most so many prompts of one user (paper 3.2: 200), so that no one's habits become the task."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from instructgpt.data.records import Record
from instructgpt.data.splits import identity


class BeyondCap(NamedTuple):
    """Record `at` is left out: `user` has `prompts` distinct prompts, more than the cap."""

    at: int
    user: str
    prompts: int


def beyond_cap(
    records: Sequence[Record], users: Sequence[str | None], cap: int, seed: int
) -> list[BeyondCap]:
    """The records beyond `cap` distinct prompts of their user; those without a user have no cap.

    Which prompts stay is drawn by the seed and each prompt's own words, not by the order of the
    records: the first 200 may all be of one day. All records of a prompt that stays stay.
    """
    prompts: dict[str, dict[str, list[int]]] = {}
    for index, (record, user) in enumerate(zip(records, users, strict=True)):
        if user is not None:
            prompts.setdefault(user, {}).setdefault(identity(record), []).append(index)
    found: list[BeyondCap] = []
    for user, own in prompts.items():
        for prompt in sorted(own, key=lambda prompt: _draw(seed, prompt))[cap:]:
            found += [BeyondCap(index, user, len(own)) for index in own[prompt]]
    return sorted(found)


def _draw(seed: int, prompt: str) -> bytes:
    return hashlib.sha256(f"{seed}:{prompt}".encode()).digest()
