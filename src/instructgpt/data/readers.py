"""Files in the formats that people bring -> records; what cannot be used is counted and named.

    load_documents / load_prompts / load_demonstrations / load_rankings(path)
    for part in open_parts(path, kind): for item in part: ...    one row in memory at a time

`path` is a file, a folder or `hf:owner/name[:split]`. The format is told from the keys of the rows
(see `formats`), or given by name; `columns` renames keys first. A file that is missing, empty or no
data file is an error. A row that cannot be used is a `Problem` with file, row and reason: left out
and reported, or an error with on_problem="error". A row that cannot even be read (not JSON, not
UTF-8) is an error unless on_problem="skip_broken". Nothing in a row is repaired or guessed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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

__all__ = ["Found", "Loaded", "OnProblem", "Origin", "Part", "Problem", "open_parts"]

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


def load_documents(
    path: str | Path,
    *,
    format: str | None = None,
    on_problem: OnProblem = "skip",
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
    on_problem: OnProblem = "skip",
    columns: Columns | None = None,
) -> Loaded[Prompt]:
    """Prompts, also those of files that hold answers or rankings. Errors: DataError."""
    return _load(path, Prompt, format, on_problem, columns)


def load_demonstrations(
    path: str | Path,
    *,
    format: str | None = None,
    on_problem: OnProblem = "skip",
    columns: Columns | None = None,
) -> Loaded[Demonstration]:
    """Prompts with the answer to imitate. Errors: DataError."""
    return _load(path, Demonstration, format, on_problem, columns)


def load_rankings(
    path: str | Path,
    *,
    format: str | None = None,
    on_problem: OnProblem = "skip",
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


def refuse_broken(problem: Problem) -> DataError:
    """The error for a row that cannot even be read."""
    return DataError(
        f"{problem}; mend the file, or leave such rows out with "
        "`instructgpt data convert --on-problem skip_broken`"
    )


def _load(
    path: str | Path,
    kind: type[R],
    format: str | None,
    on_problem: OnProblem,
    columns: Columns | None,
) -> Loaded[R]:
    loaded: Loaded[R] = Loaded([], "")
    formats: dict[str, None] = {}
    for part in open_parts(path, kind, format=format, columns=columns):
        problems: list[Problem] = []
        for item in part:
            if isinstance(item, Found):
                loaded.records.append(item.record)
                loaded.origins.append(Origin(part.name, item.row))
            elif isinstance(item, BrokenProblem) and on_problem != "skip_broken":
                raise refuse_broken(item)
            else:
                problems.append(item)
        if problems and on_problem == "error":
            more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
            raise DataError(f"{problems[0]}{more}")
        loaded.problems += problems
        formats[part.format.name] = None
    loaded.format = "+".join(formats)
    if not loaded.records:
        raise nothing_usable(path, kind, loaded.problems[0])
    report_problems(loaded.problems)
    return loaded


def nothing_usable(path: str | Path, kind: type, first: Problem) -> DataError:
    """The error for data in which every row has a problem."""
    return DataError(f"{first}; no row of '{path}' can be used as {PLURALS[kind]}")


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
