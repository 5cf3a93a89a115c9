"""Datasets of the Hugging Face hub, streamed; needs `datasets`, which the extra `hub` brings.

    hf:owner/name[/configuration][@revision][:split]        split: train

Name a revision, or convert to a file first, for a run that can be repeated: what the name alone
leads to can change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from instructgpt.data.parquet import plain
from instructgpt.errors import DataError, InstructGPTError

PREFIX = "hf:"

_ADDRESS = re.compile(
    r"hf:(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:/(?P<configuration>[\w.-]+))?"
    r"(?:@(?P<revision>[^:]+))?(?::(?P<split>.+))?"
)


def scan_hub(address: str) -> Iterator[tuple[int, Any]]:
    """(row number from 1, row) of a dataset on the hub, fetched while they are asked for.

    Errors: DataError when the address or the dataset cannot be read, InstructGPTError without
    `datasets`.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise DataError(f"{address}: write hf:owner/name[/configuration][@revision][:split]")
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise InstructGPTError(
            f"{address}: reading from the hub needs datasets: pip install 'instructgpt[hub]'"
        ) from error
    number = 0
    try:
        rows = load_dataset(
            match["name"],
            match["configuration"],
            split=match["split"] or "train",
            revision=match["revision"],
            streaming=True,
        )
        for row in rows:
            number += 1
            yield number, plain(row)
    except (OSError, ValueError) as error:
        where = f"after row {number}" if number else "at the beginning"
        raise DataError(
            f"{address}: cannot read {where}: {' '.join(str(error).split())}"
        ) from error
