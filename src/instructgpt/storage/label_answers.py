"""What labelers answer, recorded exactly once: rankings and demonstrations from their desks."""

from __future__ import annotations

from instructgpt import __version__
from instructgpt.errors import LabelError
from instructgpt.storage.annotation import Annotation, dense_ranks
from instructgpt.storage.label_access import Person
from instructgpt.storage.label_desk import Assignment, LabelDesk
from instructgpt.storage.label_order import in_task_order


class LabelAnswers:
    """Takes the answers to what lies on the desks of a label store."""

    def __init__(self, desk: LabelDesk) -> None:
        self._desk = desk
        self._store = desk.store

    def submit_ranking(
        self, person: Person, number: int, shown: Annotation, client_uuid: str
    ) -> None:
        """Record ranks, ratings and flags given in the order shown; rank numbers may have gaps.

        Sent again under the same `client_uuid`, nothing is added. Errors: LabelError.
        """
        with self._store.transaction():
            assignment = self._expect(person, number, "rank", client_uuid)
            task = in_task_order(shown, assignment.order)
            if not all(type(rank) is int and 1 <= rank <= len(task.ranks) for rank in task.ranks):
                # closing gaps first would make the best of what is not ranked yet (0)
                raise LabelError(f"ranks {list(task.ranks)}: each must be a whole number from 1")
            self._store.submit(
                assignment.task_id,
                person.name,
                dense_ranks(task.ranks),
                client_uuid=client_uuid,
                ratings=task.ratings,
                flags=task.flags,
                notes=task.notes,
                seconds=task.seconds,
                order=assignment.order,
                use_case=task.use_case,
            )
            self._desk.finish(number, "done")

    def submit_demonstration(
        self,
        person: Person,
        number: int,
        text: str,
        *,
        client_uuid: str,
        notes: str = "",
        seconds: float | None = None,
    ) -> None:
        """Record an answer that the labeler wrote; idempotent as `submit_ranking`."""
        if not text.strip():
            raise LabelError("the answer is empty")
        with self._store.transaction():
            assignment = self._expect(person, number, "demonstrate", client_uuid)
            content = {
                "task_id": assignment.task_id,
                "labeler_id": person.id,
                "text": text,
                "notes": notes,
                "seconds": seconds,
            }
            found = self._store.execute(
                "SELECT task_id, labeler_id, text, notes, seconds FROM demonstrations "
                "WHERE client_uuid = :client_uuid",
                client_uuid=client_uuid,
            )
            earlier = found.mappings().first()
            if earlier is not None and dict(earlier) != content:
                raise LabelError(f"submission '{client_uuid}' was already used differently")
            if earlier is None:
                self._store.execute(
                    "INSERT INTO demonstrations (task_id, labeler_id, text, notes, seconds, "
                    "client_uuid, program, created_at, revision) VALUES (:task_id, :labeler_id, "
                    ":text, :notes, :seconds, :client_uuid, :program, :now, "
                    "1 + (SELECT coalesce(max(revision), 0) FROM demonstrations "
                    "WHERE task_id = :task_id AND labeler_id = :labeler_id))",
                    **content,
                    client_uuid=client_uuid,
                    program=__version__,
                    now=self._store.now(),
                )
            self._desk.finish(number, "done")

    def _expect(self, person: Person, number: int, kind: str, client_uuid: str) -> Assignment:
        """The assignment that may be answered now."""
        assignment = self._desk.open(person, number)
        if assignment.kind != kind:
            raise LabelError(f"task {number} is of kind '{assignment.kind}', not '{kind}'")
        if assignment.screening and assignment.state == "done" and self._test_is_over(person):
            # answering again until it suffices would be no test; the same answer again is fine
            table = "annotations" if kind == "rank" else "demonstrations"
            if not self._store.execute(
                f"SELECT 1 FROM {table} WHERE client_uuid = :client_uuid", client_uuid=client_uuid
            ).first():
                raise LabelError("the test is over; its answers stay as they are")
        return assignment

    def _test_is_over(self, person: Person) -> bool:
        missing = self._store.execute(
            "SELECT count(*) FROM tasks t WHERE t.screening = 1 AND NOT EXISTS (SELECT 1 FROM "
            "assignments a WHERE a.task_id = t.id AND a.labeler_id = :labeler "
            "AND a.state = 'done')",
            labeler=person.id,
        ).scalar_one()
        return bool(missing == 0)
