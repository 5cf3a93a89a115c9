"""At most so many prompts of one user (paper 3.2: 200), so that no one's habits become the task."""

from __future__ import annotations

import hashlib
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
    owned = np.array([at for at, user in enumerate(users) if user is not None], dtype=np.int64)
    names, owners = np.unique([users[at] or "" for at in owned], return_inverse=True)
    digests, prompts = np.unique(identities, return_inverse=True)
    pairs = owners.reshape(-1) * len(digests) + prompts.reshape(-1)[owned]
    distinct = np.unique(pairs)
    firsts = np.searchsorted(distinct, np.arange(len(names) + 1) * len(digests))
    beyond: list[int] = []
    for own in np.split(distinct, firsts[1:-1]):
        if len(own) > cap:
            beyond += sorted(own, key=lambda pair: _draw(seed, digests[pair % len(digests)]))[cap:]
    return [
        BeyondCap(int(owned[i]), str(names[owners[i]]), int(np.diff(firsts)[owners[i]]))
        for i in np.flatnonzero(np.isin(pairs, beyond))
    ]


def _draw(seed: int, prompt: bytes) -> bytes:
    return hashlib.sha256(f"{seed}:{hexadecimal(prompt)}".encode()).digest()
