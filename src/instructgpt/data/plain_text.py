"""Plain text files cut into documents of some thousand characters, between paragraphs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from instructgpt.data.jsonl import read_bytes
from instructgpt.errors import DataError

DOCUMENT_CHARS = 4000
"""Paragraphs are joined up to this size: some 1000 tokens of English, 2000 of Chinese."""

_MAX_LEGACY_SHARE = 0.2


class Block(NamedTuple):
    """A piece of a file and the line, from 1, on which it begins."""

    line: int
    text: str


def read_text(path: str | Path) -> tuple[str, str | None]:
    """The file's text with plain newlines, and a remark when its encoding had to be guessed.

    A file that is not UTF-8 is read as Windows-1252 as long as few of its bytes are beyond ASCII,
    as in the Western books that come so. Errors: DataError for anything else, naming the line.
    """
    data = read_bytes(path)
    remark = None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        where = data.count(b"\n", 0, error.start) + 1
        text = _decode_legacy(data, path, where, data[error.start])
        remark = f"not UTF-8 (byte 0x{data[error.start]:02X}); read as Windows-1252"
    if "\0" in text:
        where = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{path}:{where}: NUL byte: not a text file in UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n"), remark


def cut_documents(text: str, max_chars: int = DOCUMENT_CHARS) -> list[Block]:
    """Documents of whole paragraphs, up to `max_chars` long; only a longer paragraph is longer.

    Paragraphs are separated by blank lines; in a file without blank lines each line is one. The
    text inside a paragraph is kept as it is. Documents never share text and none is dropped.
    """
    documents: list[Block] = []
    line, joined = 1, ""
    for paragraph in _paragraphs(text):
        candidate = f"{joined}\n\n{paragraph.text}" if joined else paragraph.text
        if joined and len(candidate) > max_chars:
            documents.append(Block(line, joined))
            candidate = paragraph.text
        if candidate is paragraph.text:
            line = paragraph.line
        joined = candidate
    if joined:
        documents.append(Block(line, joined))
    return documents


def _paragraphs(text: str) -> list[Block]:
    lines = text.split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    blank = [not line.strip() for line in lines]
    if not any(blank):
        return [Block(number, line) for number, line in enumerate(lines, start=1)]
    paragraphs: list[Block] = []
    start = None
    for number, is_blank in enumerate([*blank, True]):
        if is_blank and start is not None:
            paragraphs.append(Block(start + 1, "\n".join(lines[start:number])))
            start = None
        elif not is_blank and start is None:
            start = number
    return paragraphs


def _decode_legacy(data: bytes, path: str | Path, line: int, byte: int) -> str:
    beyond_ascii = sum(value >= 0x80 for value in data)
    if beyond_ascii <= _MAX_LEGACY_SHARE * len(data):
        try:
            return data.decode("cp1252")
        except UnicodeDecodeError:
            pass
    raise DataError(
        f"{path}:{line}: not UTF-8 (byte 0x{byte:02X}); "
        "convert it, for example with `iconv -f GB18030 -t UTF-8`"
    )
