"""A labeler's desk: which task comes next, drafts, skipping, going back.

One assignment per task and labeler. Tasks are handed out when asked for; one that nobody has
touched for `LEASE_HOURS` is handed to somebody else as well. Screening tasks come first, for
everybody, and other tasks only to those who have been admitted.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from instructgpt.errors import LabelError
from instructgpt.storage.fingerprint import canonical_json
from instructgpt.storage.label_access import Person, record_event
from instructgpt.storage.label_order import as_draft
from instructgpt.storage.label_store import LabelStore

LEASE_HOURS = 4

_ASSIGNMENT = """
    SELECT a.id, a.task_id, a.labeler_id, a.state, a.order_json, t.kind, t.screening, t.prompt_json,
        d.draft_json, coalesce(d.version, 0) AS draft_version
    FROM assignments a JOIN tasks t ON t.id = a.task_id
    LEFT JOIN drafts d ON d.assignment_id = a.id"""

# :lease is the oldest touch that still keeps a task for its labeler
_CLAIMABLE = """
    FROM tasks t
    WHERE t.screening = :screening
    AND NOT EXISTS (
        SELECT 1 FROM assignments a WHERE a.task_id = t.id AND a.labeler_id = :labeler
    )
    AND (t.screening = 1 OR t.wanted > (
        SELECT count(*) FROM assignments a WHERE a.task_id = t.id
        AND (a.state = 'done' OR (a.state = 'open' AND a.touched_at > :lease))
    ))"""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A task on somebody's desk. `completions` are in the order shown; order[i] is where the i-th
    of them stands in the task. `draft` is what the page last saved, or None.
    """

    id: int
    task_id: int
    kind: str
    state: str
    screening: bool
    prompt: Mapping[str, Any]
    completions: tuple[str, ...]
    order: tuple[int, ...]
    draft: Mapping[str, Any] | None
    draft_version: int


class LabelDesk:
    """Hands out the tasks of a label store."""

    def __init__(self, store: LabelStore) -> None:
        self.store = store

    def next(self, person: Person) -> Assignment | None:
        """What to do next: something begun, or something new; None when nothing is left."""
        with self.store.transaction():
            number = self.store.execute(
                "SELECT a.id FROM assignments a JOIN tasks t ON t.id = a.task_id WHERE "
                "a.labeler_id = :labeler AND a.state = 'open' ORDER BY t.screening DESC, a.id",
                labeler=person.id,
            ).scalar()
            if number is None:
                number = self._claim(person, screening=True)
            if number is None and self.may_work(person):
                number = self._claim(person, screening=False)
            return None if number is None else self.open(person, number)

    def open(self, person: Person, number: int) -> Assignment:
        """One of the person's own assignments. Errors: LabelError for anybody else's."""
        with self.store.transaction():
            row = self.store.execute(
                f"{_ASSIGNMENT} WHERE a.id = :number AND a.labeler_id = :labeler",
                number=number,
                labeler=person.id,
            ).first()
            if row is None:
                raise LabelError(f"no task {number} on the desk of '{person.name}'")
            found = self.store.execute(
                "SELECT text FROM completions WHERE task_id = :task ORDER BY position",
                task=row.task_id,
            )
            texts = found.scalars().all()
            order = tuple(json.loads(row.order_json))
            draft = None if row.draft_json is None else json.loads(row.draft_json)
            if draft is None and row.state == "done":
                draft = self._last_answer(row.task_id, person.id, order)
        return Assignment(
            id=row.id,
            task_id=row.task_id,
            kind=row.kind,
            state=row.state,
            screening=bool(row.screening),
            prompt=json.loads(row.prompt_json),
            completions=tuple(texts[i] for i in order),
            order=order,
            draft=draft,
            draft_version=row.draft_version,
        )

    def assign(self, task_id: int, labeler_id: int, actor: str) -> int:
        """Put a task on a labeler's desk, or back on it; the assignment's number."""
        with self.store.transaction():
            row = self.store.execute(
                "SELECT t.content_key, l.name, (SELECT count(*) FROM completions WHERE "
                "task_id = t.id) AS k FROM tasks t, labelers l WHERE t.id = :task "
                "AND l.id = :labeler",
                task=task_id,
                labeler=labeler_id,
            ).first()
            if row is None:
                raise LabelError(f"no task {task_id}, or no labeler {labeler_id}")
            order = list(range(row.k))
            random.Random(f"{row.content_key}:{row.name}").shuffle(order)
            self.store.execute(
                "INSERT INTO assignments (task_id, labeler_id, state, order_json, touched_at) "
                "VALUES (:task, :labeler, 'open', :shown, :now) ON CONFLICT (task_id, labeler_id) "
                "DO UPDATE SET state = 'open', touched_at = excluded.touched_at",
                task=task_id,
                labeler=labeler_id,
                shown=canonical_json(order),
                now=self.store.now(),
            )
            record_event(self.store, "assigned", actor, labeler_id, task_id)
            number = self.store.execute(
                "SELECT id FROM assignments WHERE task_id = :task AND labeler_id = :labeler",
                task=task_id,
                labeler=labeler_id,
            ).scalar_one()
            return int(number)

    def save_draft(self, person: Person, number: int, draft: Any, version: int) -> int | None:
        """Keep what is on the page; the draft's new version.

        None when the page did not know the last version: the task is open somewhere else too.
        A version whose receipt never reached the page is its own, which `edit` in the draft shows.
        """
        with self.store.transaction():
            assignment = self.open(person, number)
            if assignment.draft_version != version and not _same_page(assignment.draft, draft):
                return None
            version = assignment.draft_version
            self.store.execute(
                "INSERT INTO drafts (assignment_id, version, draft_json, saved_at) "
                "VALUES (:number, :version, :draft, :now) ON CONFLICT (assignment_id) DO UPDATE "
                "SET version = excluded.version, draft_json = excluded.draft_json, "
                "saved_at = excluded.saved_at",
                number=number,
                version=version + 1,
                draft=canonical_json(draft),
                now=self.store.now(),
            )
            self._touch(number, assignment.state)
        return version + 1

    def skip(self, person: Person, number: int, reason: str) -> None:
        """Leave a task to others."""
        with self.store.transaction():
            assignment = self.open(person, number)
            if assignment.state == "open":
                record_event(
                    self.store,
                    "skipped",
                    person.name,
                    person.id,
                    assignment.task_id,
                    {"reason": reason},
                )
                self.finish(number, "skipped")

    def finish(self, number: int, state: str) -> None:
        """Take a task off its desk, as done or skipped; inside a transaction."""
        self.store.execute("DELETE FROM drafts WHERE assignment_id = :number", number=number)
        self._touch(number, state)

    def history(self, person: Person, limit: int = 100) -> list[dict[str, Any]]:
        """What the person has finished or skipped, the newest first: id, kind, state, prompt."""
        with self.store.transaction():
            found = self.store.execute(
                "SELECT a.id, a.state, a.touched_at, t.kind, t.prompt_json FROM assignments a "
                "JOIN tasks t ON t.id = a.task_id WHERE a.labeler_id = :labeler "
                "AND a.state != 'open' ORDER BY a.touched_at DESC, a.id DESC LIMIT :limit",
                labeler=person.id,
                limit=limit,
            )
            rows = found.mappings().all()
        return [{**row, "prompt": json.loads(row["prompt_json"])} for row in rows]

    def progress(self, person: Person) -> dict[str, int]:
        """How many tasks the person has done, and how many there are for them now."""
        with self.store.transaction():
            done, begun = (
                self.store.execute(
                    "SELECT count(*) FROM assignments WHERE labeler_id = :labeler "
                    "AND state = :state",
                    labeler=person.id,
                    state=state,
                ).scalar_one()
                for state in ("done", "open")
            )
            new = 0
            for screening in (True, False):
                if screening or self.may_work(person):
                    count = self.store.execute(
                        f"SELECT count(*) {_CLAIMABLE}", **self._claim_values(person, screening)
                    ).scalar_one()
                    new += 0 if screening and person.leads else count
        return {"done": done, "left": begun + new}

    def may_work(self, person: Person) -> bool:
        """Whether there is no screening test, or the person has been admitted, or leads."""
        if person.leads:
            return True
        with self.store.transaction():
            tests = self.store.execute("SELECT count(*) FROM tasks WHERE screening = 1")
            return tests.scalar_one() == 0 or self.verdict(person.id) == "admitted"

    def verdict(self, labeler_id: int) -> str | None:
        """The last decision about a labeler: admitted, declined, or None."""
        with self.store.transaction():
            last = self.store.execute(
                "SELECT kind FROM events WHERE labeler_id = :labeler "
                "AND kind IN ('admitted', 'declined') ORDER BY id DESC LIMIT 1",
                labeler=labeler_id,
            ).scalar()
        return None if last is None else str(last)

    def _claim(self, person: Person, *, screening: bool) -> int | None:
        if screening and person.leads:
            return None
        task = self.store.execute(
            f"SELECT t.id {_CLAIMABLE} ORDER BY t.id LIMIT 1",
            **self._claim_values(person, screening),
        ).scalar()
        return None if task is None else self.assign(task, person.id, person.name)

    def _claim_values(self, person: Person, screening: bool) -> dict[str, Any]:
        lease = datetime.fromisoformat(self.store.now()) - timedelta(hours=LEASE_HOURS)
        return {
            "screening": int(screening),
            "labeler": person.id,
            "lease": lease.isoformat(timespec="milliseconds"),
        }

    def _touch(self, number: int, state: str) -> None:
        self.store.execute(
            "UPDATE assignments SET state = :state, touched_at = :now WHERE id = :number",
            state=state,
            now=self.store.now(),
            number=number,
        )

    def _last_answer(
        self, task_id: int, labeler_id: int, order: Sequence[int]
    ) -> dict[str, Any] | None:
        """What the labeler submitted last, as the page's draft."""
        last = "WHERE task_id = :task AND labeler_id = :labeler ORDER BY revision DESC LIMIT 1"
        whose = {"task": task_id, "labeler": labeler_id}
        written = self.store.execute(
            f"SELECT text, notes, seconds FROM demonstrations {last}", **whose
        )
        row = written.mappings().first()
        if row is not None:
            return dict(row)
        row = self.store.execute(f"SELECT * FROM annotations {last}", **whose).mappings().first()
        return None if row is None else as_draft(dict(row), order)


def _same_page(stored: Mapping[str, Any] | None, draft: Any) -> bool:
    """Whether both come from one tab of a browser, the second no earlier than the first."""
    before, now = (stored or {}).get("edit"), draft.get("edit")
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return False
    first, second = before.get("number"), now.get("number")
    if not (isinstance(first, int) and isinstance(second, int)):
        return False
    return before.get("tab") == now.get("tab") and first <= second
