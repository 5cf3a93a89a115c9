"""Rows on their way through the filters: which are left, and what was taken out and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instructgpt.data.digests import Digests, gather
from instructgpt.data.hygiene.personal_data import mask_record, obscure, personal_data_in
from instructgpt.data.hygiene.removals import MASKED, Removal, Row
from instructgpt.data.records import Demonstration, Document, Prompt, Ranking, Record
from instructgpt.data.splits import identity_digest
from instructgpt.data.spool import Chosen, Mapped, Spool

KINDS = (Document, Prompt, Demonstration, Ranking)

Evidence = tuple[int, dict[str, Any]]
"""The index of a row, and what shows that it has to go."""


class Cleaned:
    """The rows that stay, in their order, and every removal in the order of the filters.

    Rows are read again for each filter; of those that stay, a few numbers are in memory.
    """

    def __init__(self, rows: Sequence[Row], folder: Path | None = None) -> None:
        self.folder = folder
        self.removals: Spool[Removal] = Spool(folder=folder)
        self._rows = rows
        self._left = np.arange(len(rows))
        self._keys: tuple[Digests, NDArray[np.uint8]] | None = None

    @property
    def rows(self) -> Sequence[Row]:
        """What is left."""
        return Chosen(self._rows, self._left)

    @property
    def records(self) -> Sequence[Record]:
        """The records of `rows`."""
        return Mapped(lambda row: row.record, self.rows)

    @property
    def identities(self) -> Digests:
        """The identity of every row's prompt."""
        return self._read_keys()[0]

    @property
    def kinds(self) -> NDArray[np.uint8]:
        """Every row's kind, as its number in KINDS."""
        return self._read_keys()[1]

    def remove(self, reason: str, found: Iterable[Evidence]) -> None:
        """Take out the rows that were found, which come in ascending order."""
        rows = self.rows
        stays = np.ones(len(rows), dtype=np.bool_)
        for index, evidence in found:
            self.removals.append(Removal(rows[index], reason, evidence))
            stays[index] = False
        self._left = self._left[stays]
        if self._keys is not None:
            identities, kinds = self._keys
            self._keys = identities[stays], kinds[stays]

    def mask(self) -> None:
        """Mask personal data, and note where it was."""
        masked: Spool[Row] = Spool(folder=self.folder)
        for row in self.rows:
            if evidence := personal_evidence(row.record):
                self.removals.append(Removal(row, MASKED, evidence))
                row = replace(row, record=mask_record(row.record))
            masked.append(row)
        self._rows, self._left, self._keys = masked, np.arange(len(masked)), None

    def _read_keys(self) -> tuple[Digests, NDArray[np.uint8]]:
        if self._keys is None:
            kinds = bytearray()

            def digests() -> Iterator[bytes]:
                for record in self.records:
                    kinds.append(KINDS.index(type(record)))
                    yield identity_digest(record)

            self._keys = gather(digests()), np.frombuffer(kinds, np.uint8)
        return self._keys


def personal_evidence(record: Record) -> dict[str, Any]:
    """What shows that a record holds personal data; empty if it holds none."""
    matches = personal_data_in(record)
    shown = [{"kind": kind, "text": obscure(text)} for kind, text in matches]
    return {"matches": shown} if shown else {}
