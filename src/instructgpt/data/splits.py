"""Training and held-out parts that share no prompt and no user, and a check that they do not.

A prompt's identity here ignores white space, letter case and Unicode compatibility forms, so that
the same question typed twice counts as one.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, TypeVar

from instructgpt.data.records import Demonstration, Document, Prompt, Ranking, Record
from instructgpt.errors import DataError

R = TypeVar("R", Document, Prompt, Demonstration, Ranking)

SplitBy = Literal["prompt", "user", "prompt_and_user"]


class Split(NamedTuple, Generic[R]):
    """Two parts of some records, each in the order it came in."""

    train: list[R]
    heldout: list[R]


@dataclass(frozen=True, slots=True)
class Contamination:
    """Which held-out records, by index, ask a prompt that training saw, out of how many."""

    indices: tuple[int, ...]
    total: int

    def __str__(self) -> str:
        return f"{len(self.indices)} of {self.total} held-out records share a prompt with training"


def identity(record: Record) -> str:
    """A key that two records share when they hold the same prompt (documents: the same text)."""
    if isinstance(record, Document):
        turns = [("document", record.text)]
    else:
        turns = [(message.role, message.content) for message in prompt_of(record).messages]
    canonical = "\x1e".join(f"{role}\x1f{_canonical(text)}" for role, text in turns)
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()


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


def split(
    records: Sequence[R],
    fraction: float,
    seed: int,
    by: SplitBy = "prompt_and_user",
    *,
    user_key: str = "user",
    clusters: Sequence[int] | None = None,
) -> Split[R]:
    """Hold out about `fraction` of the records; a group goes to one side whole (paper 3.2, A.2).

    by="prompt": records of one prompt are a group. "user": records of one user (`user_of` with
    `user_key`) are; where that names an organisation, it is a group with all of its users. A record
    without a user is grouped by its prompt. "prompt_and_user": records linked through either, so
    that neither a prompt nor a user is on both sides. `clusters` numbers prompts that count as one,
    such as near-duplicates, by record.

    A group's side depends on the seed and on the group's identity alone: not on the order of the
    records, and with by="prompt" or "user" and without clusters not on the other records. Errors:
    ValueError for a fraction outside (0, 1); DataError when a side stays empty.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must be between 0 and 1, not {fraction}")
    prompts = _prompt_names(records, clusters)
    owners = [user_of(record, user_key) for record in records]
    users = [None if user_key == "user" else user_of(record) for record in records]
    sides: Split[R] = Split([], [])
    for record, group in zip(records, _groups(prompts, owners, users, by), strict=True):
        held_out = _unit_interval(f"{seed}:{group}") < fraction
        (sides.heldout if held_out else sides.train).append(record)
    if not sides.train or not sides.heldout:
        empty = "training" if not sides.train else "held-out"
        raise DataError(
            f"splitting {len(records)} records by {by} at {fraction:g} leaves the {empty} side "
            "empty; use more data, another fraction or another seed"
        )
    return sides


def contamination(train: Iterable[R], heldout: Sequence[R]) -> Contamination:
    """The held-out records whose prompt (or text) occurs in training."""
    seen = {identity(record) for record in train}
    shared = tuple(i for i, record in enumerate(heldout) if identity(record) in seen)
    return Contamination(shared, len(heldout))


def _canonical(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _prompt_names(records: Sequence[R], clusters: Sequence[int] | None) -> list[str]:
    """What each record's prompt is called: its identity, or the smallest one in its cluster."""
    names = [f"prompt:{identity(record)}" for record in records]
    if clusters is None:
        return names
    smallest: dict[int, str] = {}
    for name, cluster in zip(names, clusters, strict=True):
        smallest[cluster] = min(name, smallest.get(cluster, name))
    return [smallest[cluster] for cluster in clusters]


def _groups(
    prompts: Sequence[str], owners: Sequence[str | None], users: Sequence[str | None], by: SplitBy
) -> list[str]:
    """The name of every record's group; `users` are given where the owner is somebody else."""
    if by == "prompt":
        return list(prompts)
    if by not in ("user", "prompt_and_user"):
        raise ValueError(f"by must be prompt, user or prompt_and_user, not {by!r}")
    names = [
        f"user:{owner}" if owner else prompt for owner, prompt in zip(owners, prompts, strict=True)
    ]
    # a user who names the organisation now and then belongs to it always
    links = [(name, f"user:user:{user}") for name, user in zip(names, users, strict=True) if user]
    if by == "prompt_and_user":
        links += zip(prompts, names, strict=True)
    find = _connect(links)
    return [find(name) for name in names]


def _connect(edges: Iterable[tuple[str, str]]) -> Callable[[str], str]:
    """Union-find over strings: a function from a string to the smallest one connected to it."""
    parent: dict[str, str] = {}

    def find(node: str) -> str:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in edges:
        low, high = sorted((find(a), find(b)))
        parent[high] = low
    return find


def _unit_interval(name: str) -> float:
    digest = hashlib.sha256(name.encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
