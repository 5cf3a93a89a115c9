"""CSV and TSV files row by row; every cell is the text that stands there, "N/A" and "007" too.

CSV cells may be quoted and then hold line ends. TSV has no quotes: a `"` is a character like any
other. The first row names the columns, unless columns are called by number.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from instructgpt.data.jsonl import BrokenRow, gzip_errors, open_binary
from instructgpt.errors import DataError

_LONGEST_CELL = 2**31 - 1


def scan_table(
    path: Path, *, tabs: bool, encoding: str, has_header: bool
) -> Iterator[tuple[int, Any]]:
    """(line on which the row begins, {column: cell}), or a BrokenRow; blank lines are left out.

    Without a header the columns are "1", "2" and so on. Errors: DataError for a header that names a
    column twice.
    """
    csv.field_size_limit(_LONGEST_CELL)
    with (
        open_binary(path) as raw,
        gzip_errors(path),
        io.TextIOWrapper(raw, encoding=encoding, newline="") as file,
    ):
        rows = _cells(path, file, tabs)
        names: list[str] | None = None
        for line, cells in rows:
            if names is None:
                names = _names(path, cells, has_header)
                if has_header:
                    continue
            if isinstance(cells, BrokenRow):
                yield line, cells
            elif len(cells) != len(names):
                reason = f"{len(cells)} cells where there are {len(names)} columns"
                yield line, BrokenRow(path, line, reason)
            else:
                yield line, dict(zip(names, cells, strict=True))


def _cells(path: Path, file: io.TextIOWrapper, tabs: bool) -> Iterator[tuple[int, Any]]:
    if tabs:
        reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(file, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells: Any = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            cells = BrokenRow(path, line, f"not CSV: {error}")
        if cells:
            yield line, cells


def _names(path: Path, cells: Any, has_header: bool) -> list[str]:
    if isinstance(cells, BrokenRow):
        raise cells
    if not has_header:
        return [str(number) for number in range(1, len(cells) + 1)]
    twice = next((name for name in cells if cells.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path}: two columns are called {twice!r}; rename one of them")
    return list(cells)
