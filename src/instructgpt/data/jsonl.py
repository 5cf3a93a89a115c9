"""JSON lines: one JSON value per line of a UTF-8 file, errors that name file and line."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import secrets
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

from instructgpt.errors import DataError

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_BOM = b"\xef\xbb\xbf"

HALF_CHARACTER = "half a surrogate pair (\\uD8xx) in a string"
NO_NUMBER = "{} is not a JSON number; write null"


class BrokenRow(DataError):
    """A row that cannot even be read; `reason` is the message without the place."""

    def __init__(self, path: str | Path, line: int, reason: str) -> None:
        super().__init__(f"{path}:{line}: {reason}")
        self.reason = reason


def read_jsonl(path: str | Path) -> Iterator[tuple[int, Any]]:
    """Yield (line number from 1, value) for every line that is not blank; `.gz` is unpacked.

    Errors: DataError "file:line: ..." for a missing file, bytes that are not UTF-8, text that is
    not JSON (NaN and Infinity are not), or half a surrogate pair, which no tokenizer can encode.
    """
    for number, value in scan_jsonl(path):
        if isinstance(value, BrokenRow):
            raise value
        yield number, value


def scan_jsonl(path: str | Path) -> Iterator[tuple[int, Any]]:
    """`read_jsonl` that goes on behind a broken line: a BrokenRow stands in place of its value."""
    for number, line in enumerate(read_lines(path), start=1):
        if line := line.rstrip():
            try:
                yield number, parse_json(decode_utf8(line, path, number), path, number)
            except BrokenRow as broken:
                yield number, broken


def write_jsonl(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write one JSON object per line, all or nothing; returns the number of rows.

    The file appears under its name only when complete and flushed; `.gz` is packed. Parent
    directories are made. Errors: DataError when the disk is full or refuses.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    count = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as raw:
            out = _gzip_writer(raw) if path.suffix == ".gz" else raw
            for row in rows:
                line = json.dumps(row, ensure_ascii=False, allow_nan=False)
                out.write(line.encode("utf-8") + b"\n")
                count += 1
            if out is not raw:
                out.close()
            raw.flush()
            os.fsync(raw.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path}: cannot write: {error.strerror or error}") from error
    finally:
        # whatever made the write fail may make this fail too; the first error is the one to tell
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return count


def read_lines(path: str | Path) -> Iterator[bytes]:
    """The file's lines, unpacked if it is gzip, cut at newlines only, without a leading BOM.

    Errors: DataError when the file is missing, unreadable, or broken gzip.
    """
    with open_binary(path) as file, gzip_errors(path):
        for index, line in enumerate(file):
            yield line.removeprefix(_BOM) if index == 0 else line


def read_bytes(path: str | Path) -> bytes:
    """The whole file, unpacked if it is gzip, without a leading BOM. Errors: as `read_lines`."""
    return b"".join(read_lines(path))


@contextlib.contextmanager
def gzip_errors(path: str | Path) -> Iterator[None]:
    """Turn what a broken gzip file raises into a DataError."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: broken gzip file ({error}); download or pack it again") from error


def open_binary(path: str | Path) -> IO[bytes]:
    """Open for reading, through gzip for names that end in `.gz`. Errors: DataError."""
    path = Path(path)
    with unreadable(path):
        return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


@contextlib.contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Turn a file that is missing or forbidden into a DataError."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror or error}") from error


def decode_utf8(data: bytes, path: str | Path, line: int) -> str:
    """`data`, which starts at `line` of the file, as text. Errors: DataError naming the line."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        where = line + data.count(b"\n", 0, error.start)
        raise not_utf8(path, where, data[error.start]) from error


def not_utf8(path: str | Path, line: int, byte: int) -> BrokenRow:
    """The error for a byte that is not UTF-8."""
    return BrokenRow(
        path,
        line,
        f"not UTF-8 (byte 0x{byte:02X}); convert it, for example with `iconv -f GB18030 -t UTF-8`",
    )


def parse_json(text: str, path: str | Path, line: int) -> Any:
    """The JSON value in `text`, which starts at `line` of the file. Errors: DataError."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        reason = f"not JSON: {error.msg} at column {error.colno}"
        raise BrokenRow(path, line + error.lineno - 1, reason) from error
    except (ValueError, RecursionError) as error:
        raise BrokenRow(path, line, f"not JSON: {error}") from error
    if has_half_character(text, value):
        raise BrokenRow(path, line, HALF_CHARACTER)
    return value


def has_half_character(text: str, value: Any) -> bool:
    """Whether a string in `value`, read from `text`, holds half a surrogate pair."""
    if not _SURROGATE_ESCAPE.search(text):
        return False
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _refuse_constant(name: str) -> Any:
    raise ValueError(NO_NUMBER.format(name))


def _gzip_writer(raw: IO[bytes]) -> IO[bytes]:
    """A gzip writer with no name and no time in its header: same rows, same bytes."""
    return cast(IO[bytes], gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0))
