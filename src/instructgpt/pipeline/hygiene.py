"""Hygiene with settings and files: for stage `data` and for `instructgpt data clean`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from instructgpt.config.hygiene import HygieneConfig
from instructgpt.data.hygiene.clean import Cleaned, Rules, clean
from instructgpt.data.hygiene.near_duplicates import clusters
from instructgpt.data.hygiene.removals import Row, counts_by_file
from instructgpt.data.hygiene.wording import conversation
from instructgpt.data.jsonl import write_jsonl
from instructgpt.data.readers import Loaded, load_prompts
from instructgpt.data.records import Prompt, Record
from instructgpt.errors import DataError

REMOVALS = "removals.jsonl"

logger = logging.getLogger(__name__)

# Where splits must hold apart what hygiene was told to keep.
_SIMILARITY_OF_SPLITS = 0.8
_SUSPICIOUS_SHARE = 0.5


def rows_of(loaded: Loaded[Any]) -> list[Row]:
    """What was read, each record with its place."""
    return [Row(*pair) for pair in zip(loaded.records, loaded.origins, strict=True)]


def clean_rows(rows: Sequence[Row], config: HygieneConfig, seed: int) -> Cleaned:
    """`clean` by the settings; a warning for a file that loses most of its records."""
    settings = config.model_dump(exclude={"evaluation"})
    cleaned = clean(rows, Rules(**settings, seed=seed), _evaluation(config.evaluation))
    for file, counts in counts_by_file(rows, cleaned.removals).items():
        if counts["kept"] < _SUSPICIOUS_SHARE * counts["records"]:
            words = ", ".join(f"{name} {number}" for name, number in counts.items())
            logger.warning("%s: hygiene removes most of it: %s; see removals.jsonl", file, words)
    return cleaned


def duplicate_clusters(records: Sequence[Record], config: HygieneConfig) -> list[int]:
    """Every record's cluster of near-duplicates, also across kinds and where they are kept."""
    threshold = config.similarity or _SIMILARITY_OF_SPLITS
    return clusters([conversation(record) for record in records], threshold)


def write_removals(cleaned: Cleaned, path: Path) -> None:
    """removals.jsonl, in the order of the filters."""
    write_jsonl(path, (removal.to_dict() for removal in cleaned.removals))


def write_cleaned(cleaned: Cleaned, rows: Sequence[Row], out: Path) -> None:
    """OUT/NAME.jsonl for every file that keeps records, and OUT/removals.jsonl.

    Errors: DataError when two files would get one name.
    """
    names: dict[str, str] = {}
    for file in dict.fromkeys(row.origin.file for row in rows):
        name = f"{Path(file).name.partition('.')[0]}.jsonl"
        if name in names or name == REMOVALS:
            other = f"'{names[name]}'" if name in names else "the list of removals"
            raise DataError(f"'{file}' and {other} would both be written as {name}; rename one")
        names[name] = file
    for name, file in names.items():
        kept = [row.record.to_dict() for row in cleaned.rows if row.origin.file == file]
        if kept:
            write_jsonl(out / name, kept)
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
