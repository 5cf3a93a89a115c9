"""Parquet files row by row, a batch at a time; needs pyarrow, which the extra `parquet` brings.

Cells are what they are in JSON. Dates and decimals, which JSON does not have, become their text;
NaN becomes null. Columns of bytes, such as images, are not read.
"""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from instructgpt.errors import DataError, InstructGPTError

_ROWS_AT_ONCE = 256


def open_parquet(path: Path) -> tuple[Iterator[tuple[int, Any]], str | None]:
    """(row number from 1, row) of every row, and which columns are not read, if any.

    Errors: DataError when it is no Parquet file, InstructGPTError without pyarrow.
    """
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise InstructGPTError(
            f"{path}: reading Parquet needs pyarrow: pip install 'instructgpt[parquet]'"
        ) from error
    if not path.exists():
        raise DataError(f"{path}: no such file")
    try:
        file = ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a Parquet file: {_one_line(error)}") from error
    schema = file.schema_arrow
    binary = [field.name for field in schema if "binary" in str(field.type)]
    columns = [field.name for field in schema if field.name not in binary]
    remark = f"columns of bytes not read: {', '.join(binary)}" if binary else None

    def rows() -> Iterator[tuple[int, Any]]:
        number = 0
        try:
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield number, plain(row)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{path}: broken after row {number}: {_one_line(error)}") from error

    return rows(), remark


def plain(value: Any) -> Any:
    """`value` as JSON can hold it."""
    if isinstance(value, dict):
        return {str(key): plain(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [plain(below) for below in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | datetime.timedelta):
        return str(value)
    return value


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
