"""A .json file row by row: a list of any length, one object, or JSON lines under that name.

A list is decoded element by element from a window of the file, so that only one row and one window
of text are in memory. One object that is spread over lines is one row and is read whole.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from instructgpt.data.jsonl import (
    HALF_CHARACTER,
    NO_NUMBER,
    BrokenRow,
    decode_utf8,
    gzip_errors,
    has_half_character,
    not_utf8,
    open_binary,
    parse_json,
    read_bytes,
    read_lines,
    scan_jsonl,
)

WINDOW = 1 << 20
"""Bytes that are read at once; a row that does not fit makes the window grow."""

_SPACE = " \t\r\n"
# An error this near the end of the window may come from where the window was cut.
_LONGEST_TOKEN = 32


def scan_json(path: Path) -> Iterator[tuple[int, Any]]:
    """(place from 1, value) of every row; a BrokenRow in place of one that cannot be used.

    In JSON lines the place is the line. Errors: BrokenRow where the file is not JSON, for nothing
    behind that place can be trusted.
    """
    if _begins_as_list(path):
        yield from _scan_list(path)
        return
    first = next((line for line in read_lines(path) if line.strip()), b"")
    if _is_value(first):
        yield from scan_jsonl(path)
    elif first:
        yield 1, parse_json(decode_utf8(read_bytes(path), path, 1), path, 1)


def _begins_as_list(path: Path) -> bool:
    """Looked at through a window, for a list may stand on one line as long as the file."""
    with open_binary(path) as file, gzip_errors(path):
        return _Window(path, file).next_character() == "["


def _is_value(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _scan_list(path: Path) -> Iterator[tuple[int, Any]]:
    with open_binary(path) as file, gzip_errors(path):
        window = _Window(path, file)
        window.take("[")
        number = 0
        if window.next_character() != "]":
            while number == 0 or window.next_character() == ",":
                if number:
                    window.take(",")
                number += 1
                yield number, window.value()
        window.take("]")
        if window.next_character():
            raise window.error("Extra data")


class _Window:
    """The part of a file that is being decoded, and how far decoding has come."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self.file = file
        self.text = ""
        self.position = 0
        self.line = 1  # of the beginning of `text`
        self.column = 1
        self.is_whole = False
        self.constants: list[str] = []
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")()
        self._json = json.JSONDecoder(parse_constant=self._note_constant)

    def next_character(self) -> str:
        """The next character that is no white space, or nothing at the end of the file."""
        while True:
            while self.position < len(self.text) and self.text[self.position] in _SPACE:
                self.position += 1
            if self.position < len(self.text):
                return self.text[self.position]
            if self.is_whole:
                return ""
            self._grow()

    def take(self, character: str) -> None:
        """Step over `character`, which must come next."""
        if self.next_character() != character:
            expected = "',' delimiter" if character == "]" else f"{character!r}"
            raise self.error(f"Expecting {expected}")
        self.position += 1

    def value(self) -> Any:
        """The next value, or a BrokenRow if it holds what JSON has no word for."""
        self.next_character()
        while True:
            self.constants.clear()
            try:
                value, end = self._json.raw_decode(self.text, self.position)
            except json.JSONDecodeError as error:
                if self.is_whole or self._is_certain(error):
                    self.position = error.pos
                    raise self.error(error.msg) from error
            except (ValueError, RecursionError) as error:
                raise self.error(str(error)) from error
            else:
                if end < len(self.text) or self.is_whole:
                    return self._checked(value, end)
            self._grow()

    def error(self, what: str) -> BrokenRow:
        """That the file is not JSON at the present position."""
        line, column = self._place(self.position)
        return BrokenRow(self.path, line, f"not JSON: {what} at column {column}")

    def _checked(self, value: Any, end: int) -> Any:
        start, self.position = self.position, end
        if self.constants:
            reason = f"not JSON: {NO_NUMBER.format(self.constants[0])}"
        elif has_half_character(self.text[start:end], value):
            reason = HALF_CHARACTER
        else:
            return value
        # only here: to count lines looks through the window
        return BrokenRow(self.path, self._place(start)[0], reason)

    def _is_certain(self, error: json.JSONDecodeError) -> bool:
        """Whether more text could not mend it; an unfinished string is named at its beginning."""
        unfinished = error.msg.startswith("Unterminated string")
        return not unfinished and error.pos < len(self.text) - _LONGEST_TOKEN

    def _grow(self) -> None:
        """Forget what was decoded and read on; at least as much as is waiting to be decoded."""
        self.line, self.column = self._place(self.position)
        rest = self.text[self.position :]
        data = self.file.read(max(WINDOW, len(rest)))
        self.is_whole = not data
        try:
            self.text = rest + self._utf8.decode(data, final=self.is_whole)
        except UnicodeDecodeError as error:
            before = rest.count("\n") + error.object.count(b"\n", 0, error.start)
            raise not_utf8(self.path, self.line + before, error.object[error.start]) from error
        self.position = 0

    def _place(self, position: int) -> tuple[int, int]:
        """Line and column, both from 1, of a position in the window."""
        newlines = self.text.count("\n", 0, position)
        if not newlines:
            return self.line, self.column + position
        return self.line + newlines, position - self.text.rindex("\n", 0, position)

    def _note_constant(self, name: str) -> None:
        self.constants.append(name)
