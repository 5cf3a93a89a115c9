"""`history.jsonl`: what happened in a loop, by whom, when. Rows are added and never changed.

    begun           the start is made, and its model is served   model, name
    started         a round begins                                served
    collected       its prompts are chosen                        prompts, left_out, ...
    demonstrated    its demonstrations are there                  demonstrations, ...
    trained         its candidate is there                        model
    opened          the candidate stands beside `against`         against, and the rule
    promoted        the candidate is served from now on           why, votes, judges
    kept            it is not                                     why, votes, judges
    rolled_back     what was served before is served again        model

Every row also has `kind`, `round`, `at` and `by` (`loop.facts` has their types). Which model is
served is nowhere else: it follows from these rows (`loop.state`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from instructgpt.data.jsonl import read_jsonl
from instructgpt.errors import RunDirError
from instructgpt.loop.facts import check_row
from instructgpt.storage.atomic import atomic_write
from instructgpt.storage.environment import utc_now
from instructgpt.storage.lock import DirectoryLock

HISTORY = "history.jsonl"
_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Event:
    """One row. `facts` is what the kind alone has, `place` its "file:line" once it is written."""

    kind: str
    round: int
    at: str
    by: str
    facts: Mapping[str, Any]
    place: str = field(default="", compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "kind": self.kind,
            "round": self.round,
            "at": self.at,
            "by": self.by,
            **self.facts,
        }

    @classmethod
    def from_dict(cls, data: Any, place: str) -> Event:
        """Read the JSON form. Errors: ValueError for something else."""
        facts = dict(check_row(data))
        own = (facts.pop("kind"), facts.pop("round"), facts.pop("at"), facts.pop("by"))
        return cls(*own, facts, place)


def read_history(folder: Path) -> list[Event]:
    """All events in order; none where no loop has begun.

    Errors: DataError "file:line" for a line that is no JSON, RunDirError for one that is no event.
    """
    path = folder / HISTORY
    if not path.exists():
        return []
    events = []
    for number, row in read_jsonl(path):
        place = f"{path}:{number}"
        try:
            events.append(Event.from_dict(row, place))
        except ValueError as error:
            raise RunDirError(f"{place}: no event of a loop: {error}") from error
    return events


def add_event(folder: Path, kind: str, number: int, by: str, **facts: Any) -> Event:
    """Add a row; the caller has decided under `deciding`, or is alone in the round's work."""
    event = Event(kind, number, utc_now(), by, facts)
    path = folder / HISTORY
    before = path.read_bytes() if path.exists() else b""
    line = json.dumps(event.to_dict(), ensure_ascii=False, allow_nan=False) + "\n"
    # rewritten as a whole, because a reader, and whoever comes after a kill, must see whole rows
    atomic_write(path, before + line.encode())
    return event


@contextmanager
def deciding(folder: Path) -> Iterator[None]:
    """Alone with the history, for moments: what is read inside is still so when a row is added.

    Training takes hours and holds another lock, so that a rollback need not wait for it. Errors:
    RunDirError when another process keeps it.
    """
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            lock = DirectoryLock(folder)
            break
        except RunDirError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
    try:
        yield
    finally:
        lock.release()
