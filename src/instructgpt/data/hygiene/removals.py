"""What hygiene took out or masked: a file that people can review, and counts by file and reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from instructgpt.data.hygiene.personal_data import mask_record
from instructgpt.data.readers import Origin
from instructgpt.data.records import Record

CONTAMINATED = "contaminated"
PERSONAL_DATA = "personal_data"
MASKED = "personal_data_masked"
EXACT_DUPLICATE = "exact_duplicate"
PREFIX_DUPLICATE = "prefix_duplicate"
NEAR_DUPLICATE = "near_duplicate"
BEYOND_USER_CAP = "beyond_user_cap"

REASONS = (
    CONTAMINATED,
    PERSONAL_DATA,
    EXACT_DUPLICATE,
    PREFIX_DUPLICATE,
    NEAR_DUPLICATE,
    BEYOND_USER_CAP,
    MASKED,
)
"""In the order in which they are looked for; a record goes for the first that holds."""


@dataclass(frozen=True, slots=True)
class Row:
    """A record and where it was read."""

    record: Record
    origin: Origin


@dataclass(frozen=True, slots=True)
class Removal:
    """A row that was taken out, or only masked, and what shows that it had to be."""

    row: Row
    reason: str
    evidence: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The line of removals.jsonl; personal data is masked in it, whatever the reason."""
        return {
            "file": self.row.origin.file,
            "row": self.row.origin.row,
            "reason": self.reason,
            "evidence": dict(self.evidence),
            "record": mask_record(self.row.record).to_dict(),
        }


def place(origin: Origin) -> dict[str, Any]:
    """Where another row is, for evidence."""
    return {"file": origin.file, "row": origin.row}


def counts_by_file(rows: Iterable[Row], removals: Iterable[Removal]) -> dict[str, dict[str, int]]:
    """file -> {"records": read, reason: removed (or masked), ..., "kept": left}; zeros left out."""
    read = Counter(row.origin.file for row in rows)
    found: dict[str, Counter[str]] = {file: Counter() for file in read}
    for removal in removals:
        found[removal.row.origin.file][removal.reason] += 1
    table: dict[str, dict[str, int]] = {}
    for file, count in read.items():
        gone = sum(number for reason, number in found[file].items() if reason != MASKED)
        reasons = {reason: found[file][reason] for reason in REASONS if found[file][reason]}
        table[file] = {"records": count, **reasons, "kept": count - gone}
    return table
