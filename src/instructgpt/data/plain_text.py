"""Plain text files cut into documents of some thousand characters, between paragraphs.

Nothing is held in memory but the document that is being put together.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from instructgpt.data.jsonl import BrokenRow, gzip_errors, not_utf8, open_binary
from instructgpt.errors import DataError

DOCUMENT_CHARS = 4000
"""Paragraphs are joined up to this size: some 1000 tokens of English, 2000 of Chinese."""

_MAX_LEGACY_SHARE = 0.2
_READ_BYTES = 1 << 20
_ASCII = bytes(range(128))
_NOT_IN_CP1252 = b"\x81\x8d\x8f\x90\x9d"


class Block(NamedTuple):
    """A piece of a file and the line, from 1, on which it begins."""

    line: int
    text: str


class _Survey(NamedTuple):
    """What one look at all bytes of a file found; lines from 1, 0 for nowhere."""

    error: BrokenRow | None
    first_bad_byte: int
    nul_line: int
    could_be_cp1252: bool


def find_encoding(path: str | Path) -> tuple[str, str | None]:
    """The encoding of a text file, and a remark when it had to be guessed.

    A file that is not UTF-8 is read as Windows-1252 as long as few of its bytes are beyond ASCII,
    as in the Western books that come so. Errors: DataError for anything else, naming the line.
    """
    survey = _survey(path)
    if survey.error is not None and not survey.could_be_cp1252:
        raise survey.error
    if survey.nul_line:
        raise DataError(f"{path}:{survey.nul_line}: NUL byte: not a text file in UTF-8")
    if survey.error is None:
        return "utf-8-sig", None
    byte = survey.first_bad_byte
    return "cp1252", f"not UTF-8 (byte 0x{byte:02X}); read as Windows-1252"


def read_lines_of_text(path: str | Path, encoding: str) -> Iterator[str]:
    """The file's lines without their ends, whatever those are."""
    with (
        open_binary(path) as raw,
        gzip_errors(path),
        io.TextIOWrapper(raw, encoding=encoding) as file,
    ):
        for line in file:
            yield line.removesuffix("\n")


def read_documents(
    path: str | Path, encoding: str, max_chars: int = DOCUMENT_CHARS
) -> Iterator[Block]:
    """The documents of a text file."""
    by_blank_lines = _has_blank_lines(read_lines_of_text(path, encoding))
    return cut_documents(
        read_lines_of_text(path, encoding), by_blank_lines=by_blank_lines, max_chars=max_chars
    )


def cut_documents(
    lines: Iterable[str], *, by_blank_lines: bool, max_chars: int = DOCUMENT_CHARS
) -> Iterator[Block]:
    """Documents of whole paragraphs, up to `max_chars` long; only a longer paragraph is longer.

    Paragraphs are separated by blank lines, or else each line is one. The text inside a paragraph
    is kept as it is. Documents never share text and none is dropped.
    """
    line, joined = 1, ""
    for paragraph in _paragraphs(lines, by_blank_lines):
        candidate = f"{joined}\n\n{paragraph.text}" if joined else paragraph.text
        if joined and len(candidate) > max_chars:
            yield Block(line, joined)
            candidate = paragraph.text
        if candidate is paragraph.text:
            line = paragraph.line
        joined = candidate
    if joined:
        yield Block(line, joined)


def _paragraphs(lines: Iterable[str], by_blank_lines: bool) -> Iterator[Block]:
    start = 1
    gathered: list[str] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            if not gathered:
                start = number
            gathered.append(line)
        if gathered and (not line.strip() or not by_blank_lines):
            yield Block(start, "\n".join(gathered))
            gathered = []
    if gathered:
        yield Block(start, "\n".join(gathered))


def _has_blank_lines(lines: Iterable[str]) -> bool:
    """Whether a blank line has text behind it."""
    blank = False
    for line in lines:
        if not line.strip():
            blank = True
        elif blank:
            return True
    return False


def _survey(path: str | Path) -> _Survey:
    decoder = codecs.getincrementaldecoder("utf-8")()
    error: BrokenRow | None = None
    line, size, beyond_ascii, nul_line, bad_byte = 1, 0, 0, 0, 0
    could_be_cp1252 = True
    with open_binary(path) as file, gzip_errors(path):
        while True:
            data = file.read(_READ_BYTES)
            if error is None:
                try:
                    decoder.decode(data, final=not data)
                except UnicodeDecodeError as found:
                    bad_byte = found.object[found.start]
                    where = line + found.object.count(b"\n", 0, found.start)
                    error = not_utf8(path, where, bad_byte)
            if not data:
                break
            if not nul_line and b"\0" in data:
                nul_line = line + data.count(b"\n", 0, data.index(b"\0"))
            foreign = data.translate(None, _ASCII)
            could_be_cp1252 &= foreign.translate(None, _NOT_IN_CP1252) == foreign
            size += len(data)
            beyond_ascii += len(foreign)
            line += data.count(b"\n")
    could_be_cp1252 &= beyond_ascii <= _MAX_LEGACY_SHARE * size
    return _Survey(error, bad_byte, nul_line, could_be_cp1252)
