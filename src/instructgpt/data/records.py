"""The five things the project knows about text: message, document, prompt, demonstration, ranking.

JSON forms, one object per line in a .jsonl file; a field at its default is left out:

    Document       {"text": "...", "meta": {}}
    Prompt         {"prompt": [{"role": "user", "content": "..."}], "id", "user", "meta"}
    Demonstration  {"prompt", "id", "user", "prompt_meta", "completion", "labeler", "meta"}
    Ranking        {"prompt", "id", "user", "prompt_meta", "completions", "ranks", "labeler",
                    "meta"}

where "prompt_meta" is the prompt's own meta, and a message may hold "weight": 0 (nothing of this
assistant turn is learned).

All are immutable and compare by value. Constructors and `from_dict` raise ValueError with a
message that names the field; readers turn that into a problem of one row of one file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

ROLES = ("system", "user", "assistant")

Meta = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. `role` is "system", "user" or "assistant".

    `weight` 0 marks an assistant turn that is context only: nothing of it is learned.
    """

    role: str
    content: str
    weight: int = 1

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"role must be one of {', '.join(ROLES)}, not {self.role!r}")
        _check_type("content", self.content, str)
        if type(self.weight) is not int or self.weight not in (0, 1):
            raise ValueError(f"weight must be 0 or 1, not {self.weight!r}")
        if self.weight == 0 and self.role != "assistant":
            raise ValueError(f"weight belongs to assistant turns, not to {self.role!r}")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        fields: dict[str, Any] = {"role": self.role, "content": self.content}
        return fields if self.weight else {**fields, "weight": 0}

    @classmethod
    def from_dict(cls, data: Any) -> Message:
        """Read the JSON form; ValueError when it has another shape."""
        fields = _fields("a message", data, required=("role", "content"), optional=("weight",))
        return cls(fields["role"], fields["content"], fields.get("weight", 1))


@dataclass(frozen=True, slots=True)
class Document:
    """A text to pretrain on."""

    text: str
    meta: Meta = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        _check_type("text", self.text, str)
        _check_type("meta", self.meta, dict)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return _without_defaults({"text": self.text, "meta": self.meta}, keep=("text",))

    @classmethod
    def from_dict(cls, data: Any) -> Document:
        """Read the JSON form; ValueError when it has another shape."""
        fields = _fields("a document", data, required=("text",), optional=("meta",))
        return cls(text=fields["text"], meta=fields.get("meta", {}))


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that waits for an answer: it ends with a user turn.

    `user` is who asked (splits keep a user's prompts together), `id` the source's own name for it.
    """

    messages: tuple[Message, ...]
    id: str = ""
    user: str | None = None
    meta: Meta = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "messages", tuple(self.messages))
        for message in self.messages:
            _check_type("messages", message, Message)
        if not self.messages:
            raise ValueError("a prompt needs at least one message")
        if self.messages[-1].role != "user":
            raise ValueError(
                f"a prompt must end with a user turn, not with {self.messages[-1].role!r}"
            )
        _check_type("id", self.id, str)
        _check_type("user", self.user, str, type(None))
        _check_type("meta", self.meta, dict)

    @classmethod
    def from_text(cls, text: str, **fields: Any) -> Prompt:
        """A single user turn."""
        return cls(messages=(Message("user", text),), **fields)

    @property
    def text(self) -> str:
        """The last user turn, for tables and logs."""
        return self.messages[-1].content

    @property
    def key(self) -> str:
        """32 hex digits that depend on roles and contents alone: same conversation, same key."""
        turns = [[message.role, message.content] for message in self.messages]
        canonical = json.dumps(turns, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode("ascii")).hexdigest()[:32]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return _prompt_fields(self, meta_key="meta")

    @classmethod
    def from_dict(cls, data: Any) -> Prompt:
        """Read the JSON form; ValueError when it has another shape."""
        fields = _fields("a prompt", data, required=("prompt",), optional=("id", "user", "meta"))
        return _prompt_from(fields, meta_key="meta")


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt and the answer a labeler wrote for it."""

    prompt: Prompt
    completion: str
    labeler: str | None = None
    meta: Meta = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        _check_type("prompt", self.prompt, Prompt)
        _check_type("completion", self.completion, str)
        _check_type("labeler", self.labeler, str, type(None))
        _check_type("meta", self.meta, dict)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The finished dialogue: the prompt's messages and the assistant's answer."""
        return (*self.prompt.messages, Message("assistant", self.completion))

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        own = {"completion": self.completion, "labeler": self.labeler, "meta": self.meta}
        prompt = _prompt_fields(self.prompt, meta_key="prompt_meta")
        return prompt | _without_defaults(own, keep=("completion",))

    @classmethod
    def from_dict(cls, data: Any) -> Demonstration:
        """Read the JSON form; ValueError when it has another shape."""
        fields = _fields(
            "a demonstration",
            data,
            required=("prompt", "completion"),
            optional=("id", "user", "prompt_meta", "labeler", "meta"),
        )
        return cls(
            prompt=_prompt_from(fields, meta_key="prompt_meta"),
            completion=fields["completion"],
            labeler=fields.get("labeler"),
            meta=fields.get("meta", {}),
        )


@dataclass(frozen=True, slots=True)
class Ranking:
    """K >= 2 completions of one prompt and their ranks: 1 is best, equal ranks are a tie.

    Only the order of the ranks counts: (1, 2, 2, 3) and (1, 2, 2, 4) say the same.
    """

    prompt: Prompt
    completions: tuple[str, ...]
    ranks: tuple[int, ...]
    labeler: str | None = None
    meta: Meta = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "completions", tuple(self.completions))
        object.__setattr__(self, "ranks", tuple(self.ranks))
        _check_type("prompt", self.prompt, Prompt)
        for completion in self.completions:
            _check_type("completions", completion, str)
        for rank in self.ranks:
            if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
                raise ValueError(f"ranks must be whole numbers from 1 (best), not {rank!r}")
        if len(self.completions) < 2:
            raise ValueError(f"a ranking needs at least 2 completions, not {len(self.completions)}")
        if len(self.ranks) != len(self.completions):
            raise ValueError(f"{len(self.completions)} completions but {len(self.ranks)} ranks")
        _check_type("labeler", self.labeler, str, type(None))
        _check_type("meta", self.meta, dict)

    def pairs(self) -> list[tuple[int, int]]:
        """Indices (winner, loser) of every pair of completions that is not a tie."""
        ranks = self.ranks
        indices = range(len(ranks))
        return [(i, j) for i in indices for j in indices if ranks[i] < ranks[j]]

    def num_ties(self) -> int:
        """How many of the K(K-1)/2 pairs are ties."""
        num_completions = len(self.ranks)
        return num_completions * (num_completions - 1) // 2 - len(self.pairs())

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        own = {
            "completions": list(self.completions),
            "ranks": list(self.ranks),
            "labeler": self.labeler,
            "meta": self.meta,
        }
        prompt = _prompt_fields(self.prompt, meta_key="prompt_meta")
        return prompt | _without_defaults(own, keep=("completions", "ranks"))

    @classmethod
    def from_dict(cls, data: Any) -> Ranking:
        """Read the JSON form; ValueError when it has another shape."""
        fields = _fields(
            "a ranking",
            data,
            required=("prompt", "completions", "ranks"),
            optional=("id", "user", "prompt_meta", "labeler", "meta"),
        )
        _check_type("completions", fields["completions"], list)
        _check_type("ranks", fields["ranks"], list)
        return cls(
            prompt=_prompt_from(fields, meta_key="prompt_meta"),
            completions=tuple(fields["completions"]),
            ranks=tuple(fields["ranks"]),
            labeler=fields.get("labeler"),
            meta=fields.get("meta", {}),
        )


Record = Document | Prompt | Demonstration | Ranking


def _prompt_fields(prompt: Prompt, meta_key: str) -> dict[str, Any]:
    fields = {
        "prompt": [message.to_dict() for message in prompt.messages],
        "id": prompt.id,
        "user": prompt.user,
        meta_key: prompt.meta,
    }
    return _without_defaults(fields, keep=("prompt",))


def _prompt_from(fields: Mapping[str, Any], meta_key: str) -> Prompt:
    _check_type("prompt", fields["prompt"], list)
    return Prompt(
        messages=tuple(Message.from_dict(message) for message in fields["prompt"]),
        id=fields.get("id", ""),
        user=fields.get("user"),
        meta=fields.get(meta_key, {}),
    )


def _without_defaults(fields: dict[str, Any], keep: Iterable[str]) -> dict[str, Any]:
    kept = set(keep)
    return {
        key: value for key, value in fields.items() if key in kept or value not in (None, "", {})
    }


def _fields(
    what: str, data: Any, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise ValueError(f"{what} must be an object, not {_json_type(data)}")
    missing = [key for key in required if key not in data]
    if missing:
        raise ValueError(f"{what} lacks {', '.join(map(repr, missing))}")
    unknown = [key for key in data if key not in required and key not in optional]
    if unknown:
        known = ", ".join(required + optional)
        raise ValueError(f"{what} has no field {unknown[0]!r}; it has {known}")
    return data


def _check_type(name: str, value: Any, *types: type) -> None:
    if not isinstance(value, types):
        expected = " or ".join(_TYPE_NAMES.get(one, one.__name__) for one in types)
        raise ValueError(f"{name} must be {expected}, not {_json_type(value)}")


def _json_type(value: Any) -> str:
    return _TYPE_NAMES.get(type(value), type(value).__name__)


_TYPE_NAMES = {
    str: "a string",
    list: "a list",
    tuple: "a list",
    dict: "an object",
    bool: "true/false",
    int: "a number",
    float: "a number",
    type(None): "null",
}
