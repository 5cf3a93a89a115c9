"""Where rows come from: a file or a folder of .json, .jsonl and .txt, packed with gzip or not."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from instructgpt.data.jsonl import decode_utf8, parse_json, read_bytes, read_jsonl
from instructgpt.data.plain_text import cut_documents, read_text
from instructgpt.errors import DataError

logger = logging.getLogger(__name__)

_JSON_LINES = (".jsonl", ".ndjson")
_JSON = (".json",)
_TEXT = (".txt",)
SUFFIXES = (*_JSON_LINES, *_JSON, *_TEXT)


@dataclass(slots=True)
class Source:
    """One file's rows, each with its number from 1: line (JSON lines, text) or place in the list.

    `remark` says how the file had to be read if not as it should be.
    """

    file: Path
    rows: list[tuple[int, Any]] = field(default_factory=list)
    is_text: bool = False
    remark: str | None = None


def find_files(path: str | Path) -> list[Path]:
    """The file itself, or a folder's data files, sorted; hidden ones and other suffixes are not.

    Errors: DataError when there is nothing to read.
    """
    path = Path(path)
    if path.is_dir():
        inside = [p for p in sorted(path.rglob("*")) if p.is_file() and not _is_hidden(p, path)]
        files = [p for p in inside if _suffix(p) in SUFFIXES]
        if not files:
            raise DataError(f"{path}: no {', '.join(SUFFIXES)} file in this folder")
        if len(files) < len(inside):
            logger.info("%s: %d files of other kinds not read", path, len(inside) - len(files))
        return files
    if path.exists() and _suffix(path) not in SUFFIXES:
        raise DataError(
            f"{path}: cannot read {_suffix(path) or 'a file without suffix'!r}; "
            f"known are {', '.join(SUFFIXES)}, each also .gz"
        )
    return [path]


def read_source(file: Path) -> Source:
    """All rows of one file. Errors: DataError naming file and line, also for an empty file."""
    suffix = _suffix(file)
    if suffix in _TEXT:
        text, remark = read_text(file)
        rows: list[tuple[int, Any]] = [
            (block.line, {"text": block.text, "meta": {"file": file.name, "line": block.line}})
            for block in cut_documents(text)
        ]
        source = Source(file, rows, is_text=True, remark=remark)
    elif suffix in _JSON_LINES:
        source = Source(file, list(read_jsonl(file)))
    else:
        source = Source(file, _read_json(file))
    if not source.rows:
        raise DataError(f"{file}: empty file")
    return source


def _read_json(file: Path) -> list[tuple[int, Any]]:
    """A list of rows, one object, or JSON lines under the wrong name."""
    text = decode_utf8(read_bytes(file), file, 1)
    if not text.strip():
        return []
    if _is_json_lines(text):
        return list(read_jsonl(file))
    value = parse_json(text, file, 1)
    return list(enumerate(value if isinstance(value, list) else [value], start=1))


def _is_json_lines(text: str) -> bool:
    """Whether the first line is a whole value and something follows it."""
    first, _newline, rest = text.lstrip().partition("\n")
    if not rest.strip():
        return False
    try:
        json.loads(first)
    except ValueError:
        return False
    return True


def _suffix(path: Path) -> str:
    return Path(re.sub(r"\.gz$", "", path.name)).suffix.lower()


def _is_hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)
