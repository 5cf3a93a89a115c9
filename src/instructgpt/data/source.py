"""Where rows come from: files of several kinds, packed or not, folders of them, and the hub.

A source is read row by row; a file larger than memory is as good as any other.
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from instructgpt.data.hub import PREFIX, scan_hub
from instructgpt.data.json_list import scan_json
from instructgpt.data.jsonl import scan_jsonl, unreadable
from instructgpt.data.parquet import open_parquet
from instructgpt.data.plain_text import find_encoding, read_documents
from instructgpt.data.table import scan_table
from instructgpt.errors import DataError

logger = logging.getLogger(__name__)

_JSON_LINES = (".jsonl", ".ndjson")
_JSON = (".json",)
_TEXT = (".txt",)
_TABLES = (".csv", ".tsv")
_PARQUET = (".parquet",)
SUFFIXES = (*_JSON_LINES, *_JSON, *_TEXT, *_TABLES, *_PARQUET)

Columns = Mapping[str, str]
"""The name that a format knows -> the name, or the number from 1, that the column has."""

_ROWS_LOOKED_AT = 100


@dataclass(slots=True)
class Source:
    """One file's rows, each with its number from 1: line (JSON lines, text, tables) or place.

    A row that cannot even be read is a BrokenRow. `remark` says how the file had to be read if not
    as it should be.
    """

    name: str
    rows: Iterator[tuple[int, Any]]
    is_text: bool = False
    remark: str | None = None

    def first(self, count: int = _ROWS_LOOKED_AT) -> list[tuple[int, Any]]:
        """The first rows; they stay to be read."""
        head = list(islice(self.rows, count))
        self.rows = chain(head, self.rows)
        return head


def open_sources(path: str | Path, columns: Columns | None = None) -> Iterator[Source]:
    """A file, the data files of a folder by name, or `hf:owner/name`, with columns renamed.

    Errors: DataError naming file and line, also for an empty file.
    """
    columns = columns or {}
    if str(path).startswith(PREFIX):
        opened: Iterator[Source] = iter([Source(str(path), scan_hub(str(path)))])
    else:
        opened = (_open_file(file, columns) for file in find_files(path))
    for source in opened:
        if not source.first(1):
            raise DataError(f"{source.name}: empty file")
        if columns and not source.is_text:
            _check_columns(source, columns)
            source.rows = ((number, _rename(row, columns)) for number, row in source.rows)
        yield source


def find_files(path: str | Path) -> list[Path]:
    """The file itself, or a folder's data files, sorted; hidden ones and other suffixes are not.

    Errors: DataError when there is nothing to read.
    """
    path = Path(path)
    with unreadable(path):
        is_folder, is_there = path.is_dir(), path.exists()
    if is_folder:
        inside = [p for p in sorted(path.rglob("*")) if p.is_file() and not _is_hidden(p, path)]
        files = [p for p in inside if _suffix(p) in SUFFIXES]
        if not files:
            raise DataError(f"{path}: no {', '.join(SUFFIXES)} file in this folder")
        if len(files) < len(inside):
            logger.info("%s: %d files of other kinds not read", path, len(inside) - len(files))
        return files
    if is_there and _suffix(path) not in SUFFIXES:
        raise DataError(
            f"{path}: cannot read {_suffix(path) or 'a file without suffix'!r}; "
            f"known are {', '.join(SUFFIXES)}, each also .gz"
        )
    return [path]


def _open_file(file: Path, columns: Columns) -> Source:
    suffix = _suffix(file)
    if suffix in _PARQUET:
        rows, remark = open_parquet(file)
        return Source(str(file), rows, remark=remark)
    if suffix in _JSON_LINES:
        return Source(str(file), scan_jsonl(file))
    if suffix in _JSON:
        return Source(str(file), scan_json(file))
    encoding, remark = find_encoding(file)
    if suffix in _TEXT:
        return Source(str(file), _documents(file, encoding), is_text=True, remark=remark)
    by_number = bool(columns) and all(column.isdecimal() for column in columns.values())
    rows = scan_table(file, tabs=suffix == ".tsv", encoding=encoding, has_header=not by_number)
    return Source(str(file), rows, remark=remark)


def _documents(file: Path, encoding: str) -> Iterator[tuple[int, Any]]:
    for block in read_documents(file, encoding):
        meta = {"file": file.name, "line": block.line}
        yield block.line, {"text": block.text, "meta": meta}


def _rename(row: Any, columns: Columns) -> Any:
    """The row under the names that were asked for; they replace columns that had these names."""
    if not isinstance(row, Mapping):
        return row
    moved = {new: row[old] for new, old in columns.items() if old in row}
    taken = {columns[new] for new in moved}
    return {key: value for key, value in row.items() if key not in taken} | moved


def _check_columns(source: Source, columns: Columns) -> None:
    """A column that no row has is a slip of the pen."""
    known = {str(key): None for _, row in source.first() if isinstance(row, Mapping) for key in row}
    for column in columns.values():
        if column not in known:
            close = difflib.get_close_matches(column, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
            raise DataError(f"{source.name}: no column {column!r}; {hint}")


def _suffix(path: Path) -> str:
    return Path(re.sub(r"\.gz$", "", path.name)).suffix.lower()


def _is_hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)
