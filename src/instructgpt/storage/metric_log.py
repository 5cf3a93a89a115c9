"""Append-only JSON lines of numbers, one row per call, that can be cut back to a known length.

JSON has no NaN: a non-finite number is written as null and named in `nonfinite`, for example
`{"step": 3, "loss": null, "nonfinite": {"loss": "nan"}}`; `read` restores it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from instructgpt.disk import disk_errors
from instructgpt.errors import RunDirError
from instructgpt.storage.atomic import append_line


class MetricLog:
    """One `.jsonl` file of rows `{"step": int, NAME: number, ...}`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, step: int, numbers: Mapping[str, Any]) -> None:
        """Write one row; 0-d tensors become numbers. Errors: RunDirError, and no half row stays."""
        append_line(self.path, _encode(step, numbers))

    def read(self) -> list[dict[str, Any]]:
        """All complete rows; a row still being written by a running process is left out."""
        if not self.path.exists():
            return []
        lines = self.path.read_bytes().split(b"\n")[:-1]
        return [self._decode(line, number) for number, line in enumerate(lines, start=1)]

    def sync(self) -> int:
        """Wait until the disk has every row; the length in bytes."""
        if not self.path.exists():
            return 0
        with disk_errors(self.path):
            descriptor = os.open(self.path, os.O_RDWR)
            try:
                os.fsync(descriptor)
                return os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)

    def length(self) -> int:
        """Bytes written so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def cut(self, length: int) -> None:
        """Forget everything after the first `length` bytes."""
        if self.length() > length:
            with disk_errors(self.path):
                os.truncate(self.path, length)

    def _decode(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            row: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise RunDirError(f"{self.path}:{number}: not a row of numbers ({error})") from error
        for name, text in row.pop("nonfinite", {}).items():
            row[name] = float(text)
        return row


def finite(value: Any) -> Any:
    """`value` with every NaN and infinity in it replaced by None, ready for JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def _encode(step: int, numbers: Mapping[str, Any]) -> str:
    row: dict[str, Any] = {"step": step}
    nonfinite: dict[str, str] = {}
    for name, value in numbers.items():
        number = value if isinstance(value, int | float) else float(value)
        row[name] = finite(number)
        if row[name] is None:
            nonfinite[name] = str(float(number))
    if nonfinite:
        row["nonfinite"] = nonfinite
    return json.dumps(row, ensure_ascii=False, allow_nan=False)
