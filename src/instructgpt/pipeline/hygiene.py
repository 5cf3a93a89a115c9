"""Hygiene with settings and files: for stage `data` and for `instructgpt data clean`."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instructgpt.config.hygiene import HygieneConfig
from instructgpt.data.digests import first_of_equals
from instructgpt.data.hygiene.clean import Rules, clean
from instructgpt.data.hygiene.cleaned import Cleaned
from instructgpt.data.hygiene.near_duplicates import clusters
from instructgpt.data.hygiene.removals import Row, counts_by_file
from instructgpt.data.hygiene.wording import conversation
from instructgpt.data.jsonl import write_jsonl
from instructgpt.data.problems import report_problems
from instructgpt.data.readers import Loaded, Reading, load_prompts
from instructgpt.data.records import Prompt
from instructgpt.data.spool import Chosen, Mapped, Spool
from instructgpt.errors import DataError

REMOVALS = "removals.jsonl"

Counts = dict[str, dict[str, int]]
"""As `counts_by_file` gives them."""

logger = logging.getLogger(__name__)

# Where splits must hold apart what hygiene was told to keep.
_SIMILARITY_OF_SPLITS = 0.8
_SUSPICIOUS_SHARE = 0.5


def read_rows(reading: Reading[Any], rows: Spool[Row]) -> None:
    """Put what is read behind `rows`, and report its problems. Errors: DataError."""
    for origin, record in reading:
        rows.append(Row(record, origin))
    report_problems(reading.problems)


def clean_rows(
    rows: Sequence[Row], config: HygieneConfig, seed: int, folder: Path
) -> tuple[Cleaned, Counts]:
    """`clean` by the settings, and its counts by file; a warning for each that loses most records.

    `folder` is for temporary files.
    """
    settings = config.model_dump(exclude={"evaluation"})
    cleaned = clean(rows, Rules(**settings, seed=seed), _evaluation(config.evaluation), folder)
    by_file = counts_by_file(rows, cleaned.removals)
    for file, counts in by_file.items():
        if counts["kept"] < _SUSPICIOUS_SHARE * counts["records"]:
            words = ", ".join(f"{name} {number}" for name, number in counts.items())
            logger.warning("%s: hygiene removes most of it: %s; see removals.jsonl", file, words)
    return cleaned, by_file


def duplicate_clusters(cleaned: Cleaned, config: HygieneConfig) -> NDArray[np.int64]:
    """Every record's cluster of near-duplicates, also across kinds and where they are kept."""
    threshold = config.similarity or _SIMILARITY_OF_SPLITS
    prompts, number = np.unique(first_of_equals(cleaned.identities), return_inverse=True)
    texts = Mapped(conversation, Chosen(cleaned.records, prompts))
    return np.asarray(clusters(texts, threshold, cleaned.folder))[number]


def write_removals(cleaned: Cleaned, path: Path) -> None:
    """removals.jsonl, in the order of the filters."""
    write_jsonl(path, (removal.to_dict() for removal in cleaned.removals))


def write_cleaned(cleaned: Cleaned, files: Sequence[str], out: Path) -> None:
    """OUT/NAME.jsonl for each of `files` that keeps records, and OUT/removals.jsonl.

    Errors: DataError when two files would get one name.
    """
    names: dict[str, str] = {}
    for file in files:
        name = f"{Path(file).name.partition('.')[0]}.jsonl"
        if name in names or name == REMOVALS:
            other = f"'{names[name]}'" if name in names else "the list of removals"
            raise DataError(f"'{file}' and {other} would both be written as {name}; rename one")
        names[name] = file
    rows = cleaned.rows
    places: dict[str, array[int]] = {file: array("q") for file in files}
    for index, row in enumerate(rows):
        places[row.origin.file].append(index)
    for name, file in names.items():
        if places[file]:
            write_jsonl(out / name, (rows[index].record.to_dict() for index in places[file]))
    write_removals(cleaned, out / REMOVALS)


def _evaluation(paths: Sequence[str]) -> Loaded[Prompt] | None:
    if not paths:
        return None
    together: Loaded[Prompt] = Loaded([], "")
    for path in paths:
        loaded = load_prompts(path)
        together.records += loaded.records
        together.origins += loaded.origins
    return together
