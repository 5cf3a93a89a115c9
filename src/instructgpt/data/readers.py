"""Files in the formats that people bring -> records; what cannot be used is counted and named.

    load_documents / load_prompts / load_demonstrations / load_rankings(path)

The format is told from the keys of the rows (see `formats`), or given by name. A broken file
(missing, empty, not JSON, not UTF-8) is an error. A row that cannot be used is a `Problem` with
file, row and reason: left out and logged, or an error with on_problem="error". Nothing in a row is
repaired or guessed.
"""

from __future__ import annotations

import difflib
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from instructgpt.data.formats import FORMATS
from instructgpt.data.formats.base import Format, Parser, RowError
from instructgpt.data.records import Demonstration, Document, Prompt, Ranking
from instructgpt.data.source import Source, find_files, read_source
from instructgpt.errors import DataError

logger = logging.getLogger(__name__)

OnProblem = Literal["error", "skip"]

R = TypeVar("R", Document, Prompt, Demonstration, Ranking)

_ROWS_LOOKED_AT = 100
_ROWS_NAMED = 5
_PLURALS: dict[type, str] = {
    Document: "documents",
    Prompt: "prompts",
    Demonstration: "demonstrations",
    Ranking: "rankings",
}


class Problem(NamedTuple):
    """A row that was left out and why; row 0 is the whole file, which was read all the same.

    `row` counts from 1: the line of a JSON-lines or text file, the place in a JSON list.
    """

    file: str
    row: int
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.file}:{self.row}: {self.reason}" if self.row else f"{self.file}: {self.reason}"
        )


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
        rows: dict[tuple[str, str], list[int]] = defaultdict(list)
        for problem in self.problems:
            rows[problem.file, problem.reason].append(problem.row)
        return [f"{file}: {_where(found)}{reason}" for (file, reason), found in rows.items()]


def load_documents(
    path: str | Path, *, format: str | None = None, on_problem: OnProblem = "skip"
) -> Loaded[Document]:
    """Pretraining text: .txt (cut between paragraphs, see `plain_text`) or JSON with `text`.

    `path` is a file or a folder. Errors: DataError.
    """
    return _load(path, Document, format, on_problem)


def load_prompts(
    path: str | Path, *, format: str | None = None, on_problem: OnProblem = "skip"
) -> Loaded[Prompt]:
    """Prompts, also those of files that hold answers or rankings. Errors: DataError."""
    return _load(path, Prompt, format, on_problem)


def load_demonstrations(
    path: str | Path, *, format: str | None = None, on_problem: OnProblem = "skip"
) -> Loaded[Demonstration]:
    """Prompts with the answer to imitate. Errors: DataError."""
    return _load(path, Demonstration, format, on_problem)


def load_rankings(
    path: str | Path, *, format: str | None = None, on_problem: OnProblem = "skip"
) -> Loaded[Ranking]:
    """Prompts with K ranked answers; pairs are K = 2. Errors: DataError."""
    return _load(path, Ranking, format, on_problem)


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
    source = Source(Path(name), others)
    chosen = _choose_format(source, Demonstration, format) if others else FORMATS["records"]
    records: list[Demonstration] = []
    for number, row in numbered:
        if isinstance(row, Demonstration):
            records.append(row)
            continue
        try:
            records += _parse_row(row, chosen.parsers[Demonstration])
        except RowError as error:
            raise DataError(f"{name}:{number}: {error}") from error
    return records


def _load(path: str | Path, kind: type[R], format: str | None, on_problem: OnProblem) -> Loaded[R]:
    loaded: Loaded[R] = Loaded([], "")
    formats: dict[str, None] = {}
    for file in find_files(path):
        source = read_source(file)
        chosen = _choose_format(source, kind, format)
        _parse(source, chosen, kind, on_problem, loaded)
        formats[chosen.name] = None
    loaded.format = "+".join(formats)
    if not loaded.records:
        first = loaded.problems[0]
        raise DataError(f"{first}; no row of '{path}' can be used as {_PLURALS[kind]}")
    for line in loaded.problem_lines():
        logger.warning("%s", line)
    return loaded


def _parse(
    source: Source, chosen: Format, kind: type[R], on_problem: OnProblem, loaded: Loaded[R]
) -> None:
    """Add the records and problems of one file to `loaded`."""
    parser = chosen.parsers[kind]
    file = str(source.file)
    problems = [Problem(file, 0, source.remark)] if source.remark else []
    for number, row in source.rows:
        try:
            records: list[R] = _parse_row(row, parser)
        except RowError as error:
            problems.append(Problem(file, number, str(error)))
            continue
        loaded.records += records
        loaded.origins += [Origin(file, number)] * len(records)
    if problems and on_problem == "error":
        more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
        raise DataError(f"{problems[0]}{more}")
    loaded.problems += problems


def _parse_row(row: Any, parser: Parser) -> list[Any]:
    if not isinstance(row, Mapping):
        raise RowError("not an object")
    return parser(row)


def _choose_format(source: Source, kind: type, name: str | None) -> Format:
    """The named format, or the one that matches most of the first rows, and that holds `kind`."""
    if name is not None:
        chosen = _named_format(name)
    elif source.is_text:
        chosen = FORMATS["text"]
    else:
        chosen = _detect(source, kind)
    if kind not in chosen.parsers:
        holds = " and ".join(_PLURALS[one] for one in chosen.parsers)
        raise DataError(
            f"{source.file}: holds {holds} (format {chosen.name}), not {_PLURALS[kind]}"
        )
    return chosen


def _named_format(name: str) -> Format:
    if name in FORMATS:
        return FORMATS[name]
    close = difflib.get_close_matches(name, FORMATS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(FORMATS)}"
    raise DataError(f"no data format {name!r}; {hint}")


def _detect(source: Source, kind: type) -> Format:
    rows = [row for _number, row in source.rows[:_ROWS_LOOKED_AT] if isinstance(row, Mapping)]
    votes = {known: sum(map(known.matches, rows)) for known in FORMATS.values()}
    fitting = [known for known in votes if kind in known.parsers]
    # max keeps the first of equals, and a format that holds what was asked for goes before others
    best = max([*fitting, *votes], key=lambda known: votes[known])
    if rows and votes[best]:
        return best
    keys = ", ".join(sorted({str(key) for row in rows for key in row})) or "no JSON object"
    raise DataError(
        f"{source.file}: rows of no known shape (found: {keys}); {_PLURALS[kind]} can be: "
        + " | ".join(known.shape for known in fitting if known.name != "records")
    )


def _where(rows: list[int]) -> str:
    if rows == [0]:
        return ""
    named = ", ".join(map(str, rows[:_ROWS_NAMED]))
    more = ", ..." if len(rows) > _ROWS_NAMED else ""
    return f"{len(rows)} row{'s' if len(rows) > 1 else ''} left out ({named}{more}): "
