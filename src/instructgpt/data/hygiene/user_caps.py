"""At most so many prompts of one user (paper 3.2: 200), so that no one's habits become the task."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from instructgpt.data.digests import Digests, hexadecimal


class BeyondCap(NamedTuple):
    """Record `at` is left out: `user` has `prompts` distinct prompts, more than the cap."""

    at: int
    user: str
    prompts: int


def beyond_cap(
    identities: Digests, users: Sequence[str | None], cap: int, seed: int
) -> list[BeyondCap]:
    """The records beyond `cap` distinct prompts of their user; those without a user have no cap.

    Records are given by the identity of their prompt. Which prompts stay is drawn by the seed and
    each prompt's own words, not by the order of the records: the first 200 may all be of one day.
    All records of a prompt that stays stay.
    """
    known: dict[str, int] = {}
    owned, owners = array("q"), array("q")
    for at, user in enumerate(users):
        if user is not None:
            owned.append(at)
            owners.append(known.setdefault(user, len(known)))
    digests, prompts = np.unique(identities, return_inverse=True)
    # one number per user and prompt, a user's behind each other
    pairs = np.asarray(owners) * len(digests) + prompts.reshape(-1)[np.asarray(owned)]
    distinct = np.unique(pairs)
    counts = np.bincount(distinct // max(len(digests), 1), minlength=len(known))
    beyond: list[int] = []
    for own in np.split(distinct, np.cumsum(counts)[:-1]):
        if len(own) > cap:
            beyond += sorted(own, key=lambda pair: _draw(seed, digests[pair % len(digests)]))[cap:]
    names = list(known)
    return [
        BeyondCap(owned[i], names[owners[i]], int(counts[owners[i]]))
        for i in np.flatnonzero(np.isin(pairs, beyond))
    ]


def _draw(seed: int, prompt: bytes) -> bytes:
    return hashlib.sha256(f"{seed}:{hexadecimal(prompt)}".encode()).digest()
