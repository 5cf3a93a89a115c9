"""Training and held-out parts that share no prompt and no user, and a check that they do not.

A prompt's identity here ignores white space, letter case and Unicode compatibility forms, so that
the same question typed twice counts as one.
"""

from __future__ import annotations

import hashlib
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from instructgpt.data.digests import Digests, Indices, gather, hexadecimal
from instructgpt.data.records import Demonstration, Document, Prompt, Ranking, Record
from instructgpt.data.union_find import find, link, unlinked
from instructgpt.errors import DataError

R = TypeVar("R", Document, Prompt, Demonstration, Ranking)

SplitBy = Literal["prompt", "user", "prompt_and_user"]


@dataclass(frozen=True, slots=True)
class Contamination:
    """Which held-out records, by index, ask a prompt that training saw, out of how many."""

    indices: tuple[int, ...]
    total: int

    def __str__(self) -> str:
        return f"{len(self.indices)} of {self.total} held-out records share a prompt with training"


def identity(record: Record) -> str:
    """A key that two records share when they hold the same prompt (documents: the same text)."""
    return identity_digest(record).hex()


def identity_digest(record: Record) -> bytes:
    """`identity` as 32 bytes."""
    if isinstance(record, Document):
        turns = [("document", record.text)]
    else:
        turns = [(message.role, message.content) for message in prompt_of(record).messages]
    canonical = "\x1e".join(f"{role}\x1f{_canonical(text)}" for role, text in turns)
    return hashlib.sha256(canonical.encode("utf-8")).digest()


def prompt_of(record: Prompt | Demonstration | Ranking) -> Prompt:
    """The prompt of any record that has one."""
    return record if isinstance(record, Prompt) else record.prompt


def user_of(record: Record, key: str = "user") -> str | None:
    """Who a record belongs to: the prompt's `user`, or what its meta holds under another `key`.

    For a document it is always its meta. None where there is none; a number is read as its digits.
    """
    if not isinstance(record, Document) and key == "user":
        return prompt_of(record).user or None
    meta = record.meta if isinstance(record, Document) else prompt_of(record).meta
    found = meta.get(key)
    return str(found) if isinstance(found, str | int) and found != "" else None


class Keys(NamedTuple):
    """What is remembered of records for their split: whose prompts they are, in 32 bytes and names.

    `owners` are the users, or what the user key names; `users` are given where that is another.
    """

    identities: Digests
    owners: Sequence[str | None]
    users: Sequence[str | None]

    @classmethod
    def of(cls, records: Iterable[Record], user_key: str = "user") -> Keys:
        """Of records that are read once."""
        owners: list[str | None] = []
        users: list[str | None] = []
        known: dict[str | None, str | None] = {}

        def digests() -> Iterator[bytes]:
            for record in records:
                owner = user_of(record, user_key)
                user = None if user_key == "user" else user_of(record)
                owners.append(known.setdefault(owner, owner))
                users.append(known.setdefault(user, user))
                yield identity_digest(record)

        return cls(gather(digests()), owners, users)


def held_out(
    keys: Keys,
    fraction: float,
    seed: int,
    by: SplitBy = "prompt_and_user",
    clusters: Sequence[int] | None = None,
) -> NDArray[np.bool_]:
    """Which records to hold out, about `fraction`; a group stays whole (paper 3.2, A.2).

    by="prompt": records of one prompt are a group. "user": records of one user (`user_of` with
    a `user_key`) are; where that names an organisation, it is a group with all of its users. A
    record without a user is grouped by its prompt. "prompt_and_user": records linked through
    either, so that neither a prompt nor a user is on both sides. `clusters` numbers prompts that
    count as one, such as near-duplicates, by record.

    A group's side depends on the seed and on the group's identity alone: not on the order of the
    records, and with by="prompt" or "user" and without clusters not on the other records. Errors:
    ValueError for a fraction outside (0, 1); DataError when a side stays empty.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must be between 0 and 1, not {fraction}")
    groups = _groups(keys, clusters, by)
    drawn = (_unit_interval(f"{seed}:{group}") for group in groups)
    sides = np.fromiter((number < fraction for number in drawn), np.bool_)
    if sides.all() or not sides.any():
        empty = "held-out" if len(sides) and not sides.any() else "training"
        raise DataError(
            f"splitting {len(sides)} records by {by} at {fraction:g} leaves the {empty} side "
            "empty; use more data, another fraction or another seed"
        )
    return sides


def contamination(train: Iterable[R], heldout: Iterable[R]) -> Contamination:
    """The held-out records whose prompt (or text) occurs in training; both are read once."""
    asked = [identity_digest(record) for record in heldout]
    known = set(asked)
    seen = {digest for digest in map(identity_digest, train) if digest in known}
    return Contamination(tuple(i for i, one in enumerate(asked) if one in seen), len(asked))


def _canonical(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _groups(keys: Keys, clusters: Sequence[int] | None, by: SplitBy) -> Iterator[str]:
    """The name of every record's group: the smallest of all prompts and users linked in it.

    Names are compared as numbers: prompts in the order of their digests, then users by name.
    """
    if by not in ("prompt", "user", "prompt_and_user"):
        raise ValueError(f"by must be prompt, user or prompt_and_user, not {by!r}")
    digests, prompts = np.unique(keys.identities, return_inverse=True)
    prompts = prompts.reshape(-1)
    if clusters is not None:
        prompts = _smallest_in(prompts, np.asarray(clusters, dtype=np.int64))
    owners = {f"user:{one}" for one in set(keys.owners) if one is not None}
    # a user who names the organisation now and then belongs to it always
    users = {f"user:user:{one}" for one in set(keys.users) if one is not None}
    names = sorted(owners | users)
    numbers = {name: number for number, name in enumerate(names, start=len(digests))}
    smallest = unlinked(len(digests) + len(names))
    own = array("q")
    for prompt, owner, user in zip(map(int, prompts), keys.owners, keys.users, strict=True):
        number = prompt if owner is None or by == "prompt" else numbers[f"user:{owner}"]
        own.append(number)
        if by != "prompt" and user is not None:
            link(smallest, number, numbers[f"user:user:{user}"])
        if by == "prompt_and_user":
            link(smallest, number, prompt)
    for number in own:
        found = find(smallest, number)
        in_digests = found < len(digests)
        yield f"prompt:{hexadecimal(digests[found])}" if in_digests else names[found - len(digests)]


def _smallest_in(values: Indices, clusters: Indices) -> Indices:
    """Every value, replaced by the smallest one of its cluster."""
    smallest = np.full(clusters.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(smallest, clusters, values)
    return smallest[clusters]


def _unit_interval(name: str) -> float:
    digest = hashlib.sha256(name.encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
