"""Files in the formats that people bring -> records; what cannot be used is counted and named.

    load_documents / load_prompts / load_demonstrations / load_rankings(path)
    for record in stream_records(path, kind): ...    one row in memory at a time

`path` is a file, a folder or `hf:owner/name[:split]`. The format is told from the keys of the rows
(see `formats`), or given by name; `columns` renames keys first. A file that is missing, empty or no
data file is an error. A row that cannot be used is a `Problem` with file, row and reason: left out
and reported, or an error with on_problem="error". A row that cannot even be read (not JSON, not
UTF-8) is an error, BrokenRow, unless on_problem="skip_broken". Nothing in a row is repaired or
guessed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from instructgpt.data.formats import FORMATS
from instructgpt.data.formats.base import Format, Omission, Parser, RowError
from instructgpt.data.jsonl import BrokenRow
from instructgpt.data.problems import (
    BrokenProblem,
    PartProblem,
    Problem,
    problem_lines,
    report_problems,
)
from instructgpt.data.records import Demonstration, Document, Prompt, Ranking
from instructgpt.data.source import Columns, Source, open_sources
from instructgpt.errors import DataError

__all__ = ["Found", "Loaded", "OnProblem", "Origin", "Part", "Problem", "Reading", "open_parts"]

OnProblem = Literal["skip", "skip_broken", "error"]

R = TypeVar("R", Document, Prompt, Demonstration, Ranking)

PLURALS: dict[type, str] = {
    Document: "documents",
    Prompt: "prompts",
    Demonstration: "demonstrations",
    Ranking: "rankings",
}


class Origin(NamedTuple):
    """Where a record was read: its file and its row, counted as in `Problem`."""

    file: str
    row: int

    def __str__(self) -> str:
        return f"{self.file}:{self.row}"


@dataclass(slots=True)
class Loaded(Generic[R]):
    """Records in file order, where each was read, the format(s), and what could not be used."""

    records: list[R]
    format: str
    problems: list[Problem] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)

    def problem_lines(self) -> list[str]:
        """One line per file and reason: how many rows, and which."""
        return problem_lines(self.problems)


class Found(NamedTuple, Generic[R]):
    """A record and the row that it is from."""

    row: int
    record: R


class Part(Generic[R]):
    """One file (or dataset) in one format, to be read once: its records and problems in order."""

    def __init__(self, source: Source, format: Format, kind: type[R]) -> None:
        self.name = source.name
        self.format = format
        self.kind: type[R] = kind
        self._source = source

    def __iter__(self) -> Iterator[Found[R] | Problem]:
        source, parser = self._source, self.format.parsers[self.kind]
        if source.remark:
            yield Problem(source.name, 0, source.remark)
        for number, row in source.rows:
            if isinstance(row, BrokenRow):
                yield BrokenProblem(source.name, number, row.reason)
                continue
            try:
                parsed = _parse_row(row, parser)
            except RowError as error:
                yield Problem(source.name, number, str(error))
                continue
            for one in parsed:
                if isinstance(one, Omission):
                    yield PartProblem(source.name, number, one.reason)
                else:
                    yield Found(number, one)


class Reading(Generic[R]):
    """The records behind a path, to be read once, each with its place; one row is in memory.

    `format` and `problems` grow while it is read. `on_problem` None is `skip`, of a caller that has
    no such setting for its user. Errors, raised on the way: DataError, BrokenRow.
    """

    def __init__(
        self,
        path: str | Path,
        kind: type[R],
        *,
        format: str | None = None,
        on_problem: OnProblem | None = None,
        columns: Columns | None = None,
    ) -> None:
        self.path = path
        self.kind: type[R] = kind
        self.problems: list[Problem] = []
        self._parts: Iterator[Part[R]] = open_parts(path, kind, format=format, columns=columns)
        self._on_problem = on_problem
        self._formats: dict[str, None] = {}

    @property
    def format(self) -> str:
        """The format of what was read so far, or of each file if they differ."""
        return "+".join(self._formats)

    def __iter__(self) -> Iterator[tuple[Origin, R]]:
        usable = False
        for part in self._parts:
            self._formats[part.format.name] = None
            for item in part:
                if isinstance(item, Found):
                    usable = True
                    yield Origin(part.name, item.row), item.record
                elif isinstance(item, BrokenProblem) and self._on_problem != "skip_broken":
                    raise self._refuse(item)
                else:
                    self.problems.append(item)
            if self.problems and self._on_problem == "error":
                others = len(self.problems) - 1
                more = f" (and {others} more problems)" if others else ""
                raise DataError(f"{self.problems[0]}{more}")
        if not usable:
            plural = PLURALS[self.kind]
            raise DataError(f"{self.problems[0]}; no row of '{self.path}' can be used as {plural}")

    def _refuse(self, problem: BrokenProblem) -> BrokenRow:
        remedy = (
            "leave such rows out with `instructgpt data convert --on-problem skip_broken`"
            if self._on_problem is None
            else "set on_problem to skip_broken, which leaves such rows out"
        )
        reason = f"{problem.reason}; mend the file, or {remedy}"
        return BrokenRow(problem.file, problem.row, reason)


def stream_records(path: str | Path, kind: type[R], limit: int | None = None) -> Iterator[R]:
    """The records behind a path one by one, the first `limit` or all; then problems are reported.

    The counterpart of `load_*` for data that is larger than memory. Errors: DataError.
    """
    reading = Reading(path, kind)
    for _origin, record in islice(reading, limit):
        yield record
    report_problems(reading.problems)


def load_documents(
    path: str | Path,
    *,
    format: str | None = None,
    on_problem: OnProblem | None = None,
    columns: Columns | None = None,
) -> Loaded[Document]:
    """Pretraining text: .txt (cut between paragraphs, see `plain_text`) or rows with `text`.

    Errors: DataError.
    """
    return _load(path, Document, format, on_problem, columns)


def load_prompts(
    path: str | Path,
    *,
    format: str | None = None,
    on_problem: OnProblem | None = None,
    columns: Columns | None = None,
    limit: int | None = None,
) -> Loaded[Prompt]:
    """Prompts, also of files that hold answers or rankings; the first `limit`, or all.

    Errors: DataError.
    """
    return _load(path, Prompt, format, on_problem, columns, limit)


def load_demonstrations(
    path: str | Path,
    *,
    format: str | None = None,
    on_problem: OnProblem | None = None,
    columns: Columns | None = None,
    limit: int | None = None,
) -> Loaded[Demonstration]:
    """Prompts with the answer to imitate; the first `limit`, or all. Errors: DataError."""
    return _load(path, Demonstration, format, on_problem, columns, limit)


def load_rankings(
    path: str | Path,
    *,
    format: str | None = None,
    on_problem: OnProblem | None = None,
    columns: Columns | None = None,
) -> Loaded[Ranking]:
    """Prompts with K ranked answers; pairs are K = 2. Errors: DataError."""
    return _load(path, Ranking, format, on_problem, columns)


def open_parts(
    path: str | Path,
    kind: type[R],
    *,
    format: str | None = None,
    columns: Columns | None = None,
) -> Iterator[Part[R]]:
    """Every file behind `path`, ready to be read row by row.

    Errors: DataError for a file that is no data file or holds no `kind`.
    """
    for source in open_sources(path, columns):
        yield Part(source, choose_format(source, kind, format), kind)


def parse_demonstrations(
    rows: Sequence[Demonstration | Mapping[str, Any]],
    *,
    format: str | None = None,
    name: str = "demonstrations",
) -> list[Demonstration]:
    """Rows that a program holds, as records. Errors: DataError "name:row: reason" at the first."""
    if not rows:
        raise DataError(f"{name}: no rows")
    numbered = list(enumerate(rows, start=1))
    others = [(number, row) for number, row in numbered if not isinstance(row, Demonstration)]
    chosen = FORMATS["records"]
    if others:
        chosen = choose_format(Source(name, iter(others)), Demonstration, format)
    records: list[Demonstration] = []
    for number, row in numbered:
        if isinstance(row, Demonstration):
            records.append(row)
            continue
        try:
            parsed = _parse_row(row, chosen.parsers[Demonstration])
        except RowError as error:
            raise DataError(f"{name}:{number}: {error}") from error
        for one in parsed:
            if isinstance(one, Omission):
                raise DataError(f"{name}:{number}: {one.reason}")
            records.append(one)
    return records


def _load(
    path: str | Path,
    kind: type[R],
    format: str | None,
    on_problem: OnProblem | None,
    columns: Columns | None,
    limit: int | None = None,
) -> Loaded[R]:
    reading = Reading(path, kind, format=format, on_problem=on_problem, columns=columns)
    loaded: Loaded[R] = Loaded([], "")
    for origin, record in islice(reading, limit):
        loaded.records.append(record)
        loaded.origins.append(origin)
    loaded.format, loaded.problems = reading.format, reading.problems
    report_problems(loaded.problems)
    return loaded


def _parse_row(row: Any, parser: Parser) -> list[Any]:
    if not isinstance(row, Mapping):
        raise RowError("not an object")
    return parser(row)


def choose_format(source: Source, kind: type, name: str | None) -> Format:
    """The named format, or the one that matches most of the first rows, and that holds `kind`."""
    if name is not None:
        chosen = named_format(name)
    elif source.is_text:
        chosen = FORMATS["text"]
    else:
        chosen = _detect(source, kind)
    if kind not in chosen.parsers:
        holds = " and ".join(PLURALS[one] for one in chosen.parsers)
        raise DataError(f"{source.name}: holds {holds} (format {chosen.name}), not {PLURALS[kind]}")
    return chosen


def named_format(name: str) -> Format:
    """The format called `name`. Errors: DataError with the nearest name."""
    if name in FORMATS:
        return FORMATS[name]
    close = difflib.get_close_matches(name, FORMATS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(FORMATS)}"
    raise DataError(f"no data format {name!r}; {hint}")


def count_matches(source: Source) -> dict[str, int]:
    """Format name -> how many of the first rows have its shape."""
    rows = [row for _number, row in source.first() if isinstance(row, Mapping)]
    return {known.name: sum(map(known.matches, rows)) for known in FORMATS.values()}


def _detect(source: Source, kind: type) -> Format:
    votes = count_matches(source)
    fitting = [known.name for known in FORMATS.values() if kind in known.parsers]
    # max keeps the first of equals, and a format that holds what was asked for goes before others
    best = max([*fitting, *votes], key=lambda known: votes[known])
    if votes[best]:
        return FORMATS[best]
    raise unknown_shape(source, kind)


def unknown_shape(source: Source, kind: type | None = None) -> DataError:
    """The error for rows that no format knows; says what rows of `kind` can look like."""
    rows = [row for _number, row in source.first()]
    broken = next((row for row in rows if isinstance(row, BrokenRow)), None)
    found = {str(key): None for row in rows if isinstance(row, Mapping) for key in row}
    if broken is not None and not found:
        return broken
    keys = ", ".join(sorted(found)) or "no JSON object"
    shapes = [
        known.shape
        for known in FORMATS.values()
        if known.name != "records" and (kind is None or kind in known.parsers)
    ]
    what = f"{PLURALS[kind]} can be" if kind else "known are"
    return DataError(
        f"{source.name}: rows of no known shape (found: {keys}); rename keys with columns; "
        f"{what}: {' | '.join(shapes)}"
    )
