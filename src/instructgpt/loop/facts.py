"""What a row of a loop's history must say, kind by kind; it may say more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Source = Literal["votes", "judges"]


class _Facts(BaseModel):
    model_config = ConfigDict(strict=True)


class _Row(_Facts):
    """What every kind has."""

    kind: str
    round: int = Field(ge=0)
    at: str
    by: str


class _Begun(_Facts):
    name: str
    model: str


class _Started(_Facts):
    served: str


class _Collected(_Facts):
    demonstrate: int
    rank: int
    judge: int
    ppo_new: int
    left_out: dict[str, int]


class _Demonstrated(_Facts):
    demonstrations: int


class _Trained(_Facts):
    model: str


class _Opened(_Facts):
    against: str
    decided_by: list[Source] = Field(min_length=1)
    alpha: float = Field(gt=0, lt=1)
    max_votes: int = Field(gt=0)
    votes_per_user: int = Field(gt=0)


class _Interval(_Facts):
    value: float
    low: float
    high: float
    n: int


class _Ended(_Facts):
    why: str
    votes: _Interval | None
    judges: _Interval | None


class _RolledBack(_Facts):
    model: str


KINDS: dict[str, type[BaseModel]] = {
    "begun": _Begun,
    "started": _Started,
    "collected": _Collected,
    "demonstrated": _Demonstrated,
    "trained": _Trained,
    "opened": _Opened,
    "promoted": _Ended,
    "kept": _Ended,
    "rolled_back": _RolledBack,
}


def check_row(data: Any) -> Mapping[str, Any]:
    """`data`, if it is a row of a kind that there is. Errors: ValueError that names the fact."""
    if not isinstance(data, dict):
        raise ValueError("a row must be an object")
    try:
        kind = _Row.model_validate(data).kind
        if kind not in KINDS:
            raise ValueError(f"there is no kind '{kind}'")
        KINDS[kind].model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}") from error
    return data
