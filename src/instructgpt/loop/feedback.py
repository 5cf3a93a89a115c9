"""What was said in a loop, read back as records: by users in feedback/, by judges of a candidate.

Of a file that is not there nothing was said. A row that is none is a DataError "file:line: ...",
for everybody who reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from instructgpt.data.jsonl import read_jsonl
from instructgpt.data.records import Demonstration, Prompt, Ranking
from instructgpt.errors import DataError
from instructgpt.loop.places import judged_file

T = TypeVar("T")

PROMPTS = "prompts.jsonl"
RANKINGS = "rankings.jsonl"
THUMBS = "thumbs.jsonl"
DELETIONS = "deletions.jsonl"


@dataclass(frozen=True, slots=True)
class Thumb:
    """One answer of `model`, `good` or bad."""

    prompt: Prompt
    model: str
    good: bool


@dataclass(frozen=True, slots=True)
class Judged:
    """What judges said of a candidate on one prompt: 1 better than `against`, 0 worse; None where
    all abstained.
    """

    against: str
    outcome: float | None


def read_records(path: Path, parse: Callable[[Any], T]) -> Iterator[tuple[int, T]]:
    """(line, record) of every row; `parse` raises ValueError for one that is none.

    Errors: DataError.
    """
    if not path.exists():
        return
    for number, row in read_jsonl(path):
        try:
            record = parse(row)
        except ValueError as error:
            raise DataError(f"{path}:{number}: {error}") from error
        yield number, record


def read_prompts(folder: Path) -> Iterator[tuple[int, Prompt]]:
    """(line, prompt) of what users asked."""
    return read_records(folder / PROMPTS, Prompt.from_dict)


def read_votes(folder: Path) -> Iterator[Ranking]:
    """What users preferred, in order of arrival."""
    return (vote for _, vote in read_records(folder / RANKINGS, Ranking.from_dict))


def read_thumbs(folder: Path) -> Iterator[Thumb]:
    """What users thought of single answers."""
    return (thumb for _, thumb in read_records(folder / THUMBS, _thumb))


def forgotten_users(folder: Path) -> set[str]:
    """Who has asked the server to forget them."""
    return {user for _, user in read_records(folder / DELETIONS, _forgotten)}


def read_judged(root: Path, number: int) -> Iterator[Judged]:
    """What judges said of the candidate of round `number` of the loop in `root`."""
    return (one for _, one in read_records(judged_file(root, number), _judged))


def _thumb(row: Any) -> Thumb:
    good = _field(row, "label", bool)
    answer = Demonstration.from_dict({key: row[key] for key in row if key != "label"})
    return Thumb(answer.prompt, _field(answer.meta, "model", str), good)


def _forgotten(row: Any) -> str:
    user: str = _field(row, "forget", str)
    return user


def _judged(row: Any) -> Judged:
    outcome = _field(row, "outcome", int, float, type(None))
    if outcome is not None and not 0 <= outcome <= 1:
        raise ValueError(f"'outcome' must lie between 0 and 1, not {outcome!r}")
    return Judged(_field(row, "against", str), outcome)


def _field(row: Any, name: str, *types: type) -> Any:
    """A value of a row. Errors: ValueError."""
    if not isinstance(row, dict) or name not in row:
        raise ValueError(f"there is no {name!r}")
    if type(row[name]) not in types:
        raise ValueError(f"{name!r} must not be {row[name]!r}")
    return row[name]
