"""Rows that could not be used: what they are called, and who hears of them.

Loading reports every file's problems as warnings. Inside `collect_problems()` they are gathered
too, so that whoever runs a stage can say at its end what its data lacked.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

logger = logging.getLogger(__name__)

_ROWS_NAMED = 5


class Problem(NamedTuple):
    """A row that was left out and why; row 0 is the whole file, which was read all the same.

    `row` counts from 1: the line of JSON lines, a table or a text file, the place in a JSON list.
    """

    file: str
    row: int
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.file}:{self.row}: {self.reason}" if self.row else f"{self.file}: {self.reason}"
        )


class BrokenProblem(Problem):
    """A row that could not even be read."""

    __slots__ = ()


class PartProblem(Problem):
    """A part of a row was left out; the rest of it is used."""

    __slots__ = ()


class Collected:
    """Problems of everything that was loaded, each file's once."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}

    def add(self, problems: Iterable[Problem]) -> None:
        """Take note of some problems."""
        self._found |= dict.fromkeys(problems)

    @property
    def rows_left_out(self) -> int:
        """Rows of which nothing was used."""
        return sum(bool(one.row) and type(one) is not PartProblem for one in self._found)

    def lines(self) -> list[str]:
        """One line per file and reason."""
        return problem_lines(self._found)

    def to_json(self) -> list[dict[str, Any]]:
        """JSON values, for `problems_from_json`."""
        return [{**one._asdict(), "part": type(one) is PartProblem} for one in self._found]


def problems_from_json(rows: Iterable[Mapping[str, Any]]) -> list[Problem]:
    """The inverse of `Collected.to_json`."""
    return [
        (PartProblem if row["part"] else Problem)(row["file"], row["row"], row["reason"])
        for row in rows
    ]


_collected: ContextVar[Collected | None] = ContextVar("collected problems", default=None)


@contextmanager
def collect_problems() -> Iterator[Collected]:
    """Gather what is reported while the block runs."""
    collected = Collected()
    token = _collected.set(collected)
    try:
        yield collected
    finally:
        _collected.reset(token)


def report_problems(problems: list[Problem]) -> None:
    """Warn of some problems, one line per file and reason, and hand them to the collector."""
    for line in problem_lines(problems):
        logger.warning("%s", line)
    note_problems(problems)


def note_problems(problems: Iterable[Problem]) -> None:
    """Hand problems to the collector without a warning: it was given when they were found."""
    collected = _collected.get()
    if collected is not None:
        collected.add(problems)


def problem_lines(problems: Iterable[Problem]) -> list[str]:
    """One line per file and reason: how many rows, and which."""
    rows: dict[tuple[str, str, bool], list[int]] = defaultdict(list)
    for problem in problems:
        is_part = type(problem) is PartProblem
        rows[problem.file, problem.reason, is_part].append(problem.row)
    return [
        f"{file}: {_where(found, is_part)}{reason}"
        for (file, reason, is_part), found in rows.items()
    ]


def _where(rows: list[int], is_part: bool) -> str:
    if rows == [0]:
        return ""
    rows = list(dict.fromkeys(rows))
    named = ", ".join(map(str, rows[:_ROWS_NAMED]))
    more = ", ..." if len(rows) > _ROWS_NAMED else ""
    count = f"{len(rows)} row{'s' if len(rows) > 1 else ''}"
    start = f"part of {count} left out" if is_part else f"{count} left out"
    return f"{start} ({named}{more}): "
