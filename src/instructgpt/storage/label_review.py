"""What the lead reads and decides: tasks with their answers, scores, resolutions, the log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from instructgpt.errors import LabelError
from instructgpt.storage.label_access import record_event
from instructgpt.storage.label_rows import demonstration_row
from instructgpt.storage.label_store import LabelStore


class LabelReview:
    """Reading and deciding across all labelers of one label store."""

    def __init__(self, store: LabelStore) -> None:
        self.store = store

    def people(self) -> list[dict[str, Any]]:
        """Everybody who was invited: id, name, role, done, skipped, verdict."""
        return self._rows(
            """SELECT l.id, l.name, a.role,
            (SELECT count(*) FROM assignments WHERE labeler_id = l.id AND state = 'done') AS done,
            (SELECT count(*) FROM assignments WHERE labeler_id = l.id AND state = 'skipped')
                AS skipped,
            (SELECT kind FROM events WHERE labeler_id = l.id AND kind IN ('admitted', 'declined')
                ORDER BY id DESC LIMIT 1) AS verdict
            FROM labelers l JOIN access a ON a.labeler_id = l.id ORDER BY l.id"""
        )

    def tasks(
        self, *, screening: bool | None = None, task: int | None = None
    ) -> list[dict[str, Any]]:
        """Every task: id, kind, screening, wanted, done, prompt, gold. Of the screening test only,
        or without it; one task only; or all.
        """
        rows = self._rows(
            """SELECT t.id, t.kind, t.screening, t.wanted, t.prompt_json, t.gold_json,
            (SELECT count(*) FROM assignments WHERE task_id = t.id AND state = 'done') AS done
            FROM tasks t WHERE t.screening = coalesce(:screening, t.screening)
            AND t.id = coalesce(:task, t.id) ORDER BY t.id""",
            screening=None if screening is None else int(screening),
            task=task,
        )
        for row in rows:
            row["prompt"] = json.loads(row.pop("prompt_json"))
            gold = row.pop("gold_json")
            row["gold"] = None if gold is None else json.loads(gold)
        return rows

    def demonstrations(
        self, *, screening: bool | None = None, task: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Every labeler's last answer to every demonstration task, as a demonstration's JSON form;
        its `meta` holds task, revision, notes, seconds, created_at, score and `task_meta`. Of the
        screening test only, or without it; of one task only; or all.
        """
        for row in self._rows(
            """SELECT d.*, t.prompt_json, t.meta_json AS task_meta_json, l.name AS labeler,
            (SELECT e.detail_json FROM events e WHERE e.kind = 'scored' AND e.task_id = d.task_id
                AND e.labeler_id = d.labeler_id ORDER BY e.id DESC LIMIT 1) AS score_json
            FROM demonstrations d JOIN tasks t ON t.id = d.task_id
            JOIN labelers l ON l.id = d.labeler_id
            WHERE d.revision = (SELECT max(revision) FROM demonstrations
                WHERE task_id = d.task_id AND labeler_id = d.labeler_id)
            AND t.screening = coalesce(:screening, t.screening) AND t.id = coalesce(:task, t.id)
            ORDER BY d.task_id, d.labeler_id""",
            screening=None if screening is None else int(screening),
            task=task,
        ):
            yield demonstration_row(row)

    def history(self, task_id: int | None = None) -> list[dict[str, Any]]:
        """Everything that happened, or what happened to one task, in order: created_at, kind,
        actor (who), labeler (about whom), task_id, detail, program (its version then).
        """
        rows = self._rows(
            """SELECT e.created_at, e.kind, e.actor, l.name AS labeler, e.task_id, e.detail_json,
                e.program, 0 AS part, e.id AS id
                FROM events e LEFT JOIN labelers l ON l.id = e.labeler_id
                WHERE CAST(:task AS BIGINT) IS NULL OR e.task_id = :task
            UNION ALL SELECT a.created_at, 'ranked', l.name, l.name, a.task_id,
                '{"revision":' || a.revision || ',"ranks":' || a.ranks_json || '}', a.program,
                1, a.id
                FROM annotations a JOIN labelers l ON l.id = a.labeler_id
                WHERE CAST(:task AS BIGINT) IS NULL OR a.task_id = :task
            UNION ALL SELECT d.created_at, 'demonstrated', l.name, l.name, d.task_id,
                '{"revision":' || d.revision || '}', d.program, 2, d.id
                FROM demonstrations d JOIN labelers l ON l.id = d.labeler_id
                WHERE CAST(:task AS BIGINT) IS NULL OR d.task_id = :task
            ORDER BY 1, part, id""",
            task=task_id,
        )
        for row in rows:
            del row["part"], row["id"]
            row["detail"] = json.loads(row.pop("detail_json"))
        return rows

    def resolutions(self) -> dict[int, str]:
        """Task -> the labeler whose ranking counts, where the lead has decided."""
        rows = self._rows(
            "SELECT e.task_id, l.name FROM events e JOIN labelers l ON l.id = e.labeler_id "
            "WHERE e.kind = 'resolved' ORDER BY e.id"
        )
        return {row["task_id"]: row["name"] for row in rows}

    def decide(
        self,
        kind: str,
        actor: str,
        labeler_id: int,
        task_id: int | None = None,
        **detail: Any,
    ) -> None:
        """Record admitted, declined, resolved or scored; the last decision counts."""
        with self.store.transaction():
            if not self._rows("SELECT 1 FROM labelers WHERE id = :labeler", labeler=labeler_id):
                raise LabelError(f"no labeler {labeler_id}")
            if task_id is not None:
                table = "demonstrations" if kind == "scored" else "annotations"
                if not self._rows(
                    f"SELECT 1 FROM {table} WHERE task_id = :task AND labeler_id = :labeler",
                    task=task_id,
                    labeler=labeler_id,
                ):
                    raise LabelError(f"labeler {labeler_id} has no answer to task {task_id}")
            record_event(self.store, kind, actor, labeler_id, task_id, detail)

    def _rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        with self.store.transaction():
            return [dict(row) for row in self.store.execute(sql, **values).mappings()]
