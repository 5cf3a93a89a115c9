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


def read_jsonl(path: str | Path) -> Iterator[tuple[int, Any]]:
    """Yield (line number from 1, value) for every line that is not blank; `.gz` is unpacked.

    Errors: DataError "file:line: ..." for a missing file, bytes that are not UTF-8, text that is
    not JSON (NaN and Infinity are not), or half a surrogate pair, which no tokenizer can encode.
    """
    for number, line in enumerate(read_lines(path), start=1):
        if line := line.rstrip():
            yield number, parse_json(decode_utf8(line, path, number), path, number)


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
    try:
        with open_binary(path) as file:
            for index, line in enumerate(file):
                yield line.removeprefix(_BOM) if index == 0 else line
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: broken gzip file ({error}); download or pack it again") from error


def read_bytes(path: str | Path) -> bytes:
    """The whole file, unpacked if it is gzip, without a leading BOM. Errors: as `read_lines`."""
    return b"".join(read_lines(path))


def open_binary(path: str | Path) -> IO[bytes]:
    """Open for reading, through gzip for names that end in `.gz`. Errors: DataError."""
    path = Path(path)
    try:
        return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")
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
        raise DataError(
            f"{path}:{where}: not UTF-8 (byte 0x{data[error.start]:02X}); "
            "convert it, for example with `iconv -f GB18030 -t UTF-8`"
        ) from error


def parse_json(text: str, path: str | Path, line: int) -> Any:
    """The JSON value in `text`, which starts at `line` of the file. Errors: DataError."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        if _SURROGATE_ESCAPE.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as error:
        where = f"{path}:{line + error.lineno - 1}"
        raise DataError(f"{where}: not JSON: {error.msg} at column {error.colno}") from error
    except UnicodeEncodeError as error:
        raise DataError(f"{path}:{line}: half a surrogate pair (\\uD8xx) in a string") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}:{line}: not JSON: {error}") from error
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number; write null")


def _gzip_writer(raw: IO[bytes]) -> IO[bytes]:
    """A gzip writer with no name and no time in its header: same rows, same bytes."""
    return cast(IO[bytes], gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0))
