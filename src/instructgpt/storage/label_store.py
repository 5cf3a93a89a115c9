"""Rankings and who gave them, when, and what else they said: one database, nothing lost.

Annotations are only ever added. A labeler who changes their mind adds a revision; exports take
the last one. Every submission is one transaction and carries an id made by its sender, so that
sending it again after a broken connection or a kill changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import CursorResult

from instructgpt import __version__
from instructgpt.errors import LabelError
from instructgpt.storage.address import LABEL_TABLES, open_database
from instructgpt.storage.annotation import MAX_COMPLETIONS, MIN_COMPLETIONS, Annotation
from instructgpt.storage.environment import utc_now
from instructgpt.storage.fingerprint import canonical_json
from instructgpt.storage.label_rows import (
    annotation_row,
    completion_row,
    prompt_key,
    ranking_row,
    task_row,
)
from instructgpt.storage.migrations import MIGRATIONS

_LAST_WORDS = """
    SELECT a.*, t.prompt_json, t.meta_json AS task_meta_json, l.name AS labeler, l.kind
    FROM annotations a
    JOIN tasks t ON t.id = a.task_id
    JOIN labelers l ON l.id = a.labeler_id
    WHERE a.revision = (
        SELECT max(revision) FROM annotations
        WHERE task_id = a.task_id AND labeler_id = a.labeler_id
    )
    AND t.screening = coalesce(:screening, t.screening) AND t.id = coalesce(:task, t.id)
    ORDER BY a.task_id, a.labeler_id"""

_COMPLETIONS = """
    SELECT text, model, sampling_json FROM completions WHERE task_id = :task ORDER BY position"""


class LabelStore:
    """Labelers, tasks and annotations at `address`: an SQLite file, made if it is missing, or a
    PostgreSQL database, `postgresql://user:password@host/name`.

    Safe to share between threads, and between processes: on one machine, or with PostgreSQL on
    many. Errors: as of `open_database`; RunDirError when the disk or the server refuses, DataError
    when it is no label store, or damaged.
    """

    def __init__(self, address: str | Path, clock: Callable[[], str] = utc_now) -> None:
        self._clock = clock
        self._database = open_database(address)
        try:
            self._database.migrate(MIGRATIONS, LABEL_TABLES)
        except BaseException:
            self._database.close()
            raise

    @property
    def where(self) -> str:
        """The file's path, or the database's address without its password."""
        return self._database.where

    def close(self) -> None:
        """Close the database; the write-ahead log beside a file is folded in."""
        self._database.close()

    def __enter__(self) -> LabelStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def transaction(self) -> AbstractContextManager[None]:
        """Everything inside is stored together or not at all; for thousands of labels at once."""
        return self._database.transaction()

    def execute(self, sql: str, /, **values: Any) -> CursorResult[Any]:
        """For the other tables of the database: one statement, inside `transaction`."""
        return self._database.execute(sql, **values)

    def scrub(self, *tables: str) -> None:
        """Leave nothing of deleted rows in the files of these tables. Errors: RunDirError when
        somebody else keeps them busy for half a minute.
        """
        self._database.scrub(*tables)

    def add_labeler(
        self, name: str, kind: str = "person", meta: Mapping[str, Any] | None = None
    ) -> int:
        """The labeler's id; a name that is known already keeps its kind and meta.

        `kind` says who it is: person, simulated, model.
        """
        with self.transaction():
            self.execute(
                "INSERT INTO labelers (name, kind, meta_json, created_at) "
                "VALUES (:name, :kind, :meta, :now) ON CONFLICT (name) DO NOTHING",
                name=name,
                kind=kind,
                meta=canonical_json(meta or {}),
                now=self._clock(),
            )
            return self._labeler_id(name)

    def now(self) -> str:
        """The time, as every table writes it."""
        return self._clock()

    def add_task(
        self,
        prompt: Mapping[str, Any],
        completions: Sequence[str | Mapping[str, Any]],
        meta: Mapping[str, Any] | None = None,
        *,
        wanted: int = 1,
        gold: Mapping[str, Any] | None = None,
    ) -> int:
        """The id of the task to rank these 2 to 9 completions; the same task is stored once.

        `prompt` is a prompt's JSON form (`data.records.Prompt`); a completion is its text or
        `{"text", "model": fingerprint, "sampling": {...}}`. Tasks are the same when messages,
        texts and models are; then the larger `wanted`, how many labelers should rank it, counts.
        With `gold`, the ranks and flags that are expected, it belongs to the screening test.
        Errors: LabelError.
        """
        rows = [completion_row(completion) for completion in completions]
        if not MIN_COMPLETIONS <= len(rows) <= MAX_COMPLETIONS:
            raise LabelError(
                f"a task has {MIN_COMPLETIONS} to {MAX_COMPLETIONS} completions, not {len(rows)}"
            )
        key = prompt_key(prompt)
        if gold is not None:
            Annotation(gold["ranks"], flags=gold.get("flags", {})).check(len(rows))
        content = [key, [[row["text"], row["model"]] for row in rows]]
        task = task_row(
            prompt,
            key,
            content,
            meta,
            kind="rank",
            wanted=wanted,
            gold=gold,
            screening=gold is not None,
        )
        return self._insert_task(task, rows)

    def add_demonstration_task(
        self,
        prompt: Mapping[str, Any],
        meta: Mapping[str, Any] | None = None,
        *,
        wanted: int = 1,
        screening: bool = False,
    ) -> int:
        """The id of the task to write an answer to this prompt; the same prompt is stored once."""
        key = prompt_key(prompt)
        content = [key, "demonstrate"]
        task = task_row(
            prompt, key, content, meta, kind="demonstrate", wanted=wanted, screening=screening
        )
        return self._insert_task(task, [])

    def submit(
        self,
        task_id: int,
        labeler: str,
        ranks: Sequence[int],
        *,
        client_uuid: str,
        ratings: Sequence[int | None] | None = None,
        flags: Mapping[str, Any] | None = None,
        notes: str = "",
        seconds: float | None = None,
        order: Sequence[int] | None = None,
        use_case: str | None = None,
    ) -> int:
        """Record one `Annotation` (which explains the fields); its id.

        A second submission by the same labeler is a revision. `client_uuid` belongs to this
        submission: sent again with the same content, nothing is added. Errors: LabelError for
        ranks or ratings that do not fit the task, an unknown task or labeler, or a `client_uuid`
        that was used for something else.
        """
        annotation = Annotation(ranks, ratings, flags or {}, notes, seconds, order, use_case)
        with self.transaction():
            labeler_id = self._labeler_id(labeler)
            annotation.check(self._num_completions(task_id))
            content = {
                "task_id": task_id,
                "labeler_id": labeler_id,
                **annotation_row(annotation),
            }
            earlier = self._submission(client_uuid)
            if earlier is None:
                self._insert_annotation(client_uuid, content)
                earlier = self._submission(client_uuid)
                assert earlier is not None
            if any(earlier[column] != value for column, value in content.items()):
                raise LabelError(f"submission '{client_uuid}' was already used differently")
            return int(earlier["id"])

    def rankings(
        self, *, screening: bool | None = None, task: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Every labeler's last word on every task, by task and then labeler, in order of arrival.

        Of the screening test only, or without it; of one task only; or all.
        A ranking's JSON form (`data.records.Ranking`), ranks without gaps; its `meta` holds
        task, revision, labeler_kind, models, sampling, ratings, flags, use_case, notes, seconds,
        order (as shown), created_at and the task's own meta as `task_meta`. A snapshot: what is
        submitted meanwhile is not in it.
        """
        wanted = {"screening": None if screening is None else int(screening), "task": task}
        with self._database.snapshot() as run:
            annotations = run(_LAST_WORDS, **wanted).mappings()
            for number, rows in groupby(annotations, key=itemgetter("task_id")):
                completions = [dict(c) for c in run(_COMPLETIONS, task=number).mappings()]
                for row in rows:
                    yield ranking_row(dict(row), completions)

    def counts(self) -> dict[str, int]:
        """How many labelers, tasks and annotations there are, and how many rankings count."""
        with self.transaction():
            found = self.execute(
                "SELECT (SELECT count(*) FROM labelers) AS labelers,"
                " (SELECT count(*) FROM tasks) AS tasks,"
                " (SELECT count(*) FROM annotations) AS annotations,"
                " (SELECT count(*) FROM (SELECT DISTINCT task_id, labeler_id FROM annotations)"
                " AS pairs) AS rankings"
            )
            return dict(found.mappings().one())

    def _insert_task(self, task: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> int:
        with self.transaction():
            found = self._task_id(task["content_key"])
            if found is not None:
                return self._wanted_again(found, task)
            self.execute(
                "INSERT INTO tasks (prompt_json, prompt_key, content_key, meta_json, kind, wanted, "
                "screening, gold_json, created_at) VALUES (:prompt_json, :prompt_key, "
                ":content_key, :meta_json, :kind, :wanted, :screening, :gold_json, :now)",
                **task,
                now=self._clock(),
            )
            task_id = self._task_id(task["content_key"])
            assert task_id is not None
            self._database.execute_many(
                "INSERT INTO completions (task_id, position, text, model, sampling_json) "
                "VALUES (:task, :position, :text, :model, :sampling_json)",
                [{"task": task_id, "position": i, **row} for i, row in enumerate(rows)],
            )
            return task_id

    def _task_id(self, content_key: str) -> int | None:
        return self.execute(
            "SELECT id FROM tasks WHERE content_key = :content_key", content_key=content_key
        ).scalar()

    def _wanted_again(self, task_id: int, task: Mapping[str, Any]) -> int:
        """The same task, which is stored once: more labelers may be wanted, or other gold."""
        was_screening = self.execute(
            "SELECT screening FROM tasks WHERE id = :task", task=task_id
        ).scalar_one()
        if was_screening != task["screening"]:
            raise LabelError(
                f"task {task_id} is the same, and it is {'' if was_screening else 'not '}part of "
                "the screening test; it cannot be both"
            )
        self.execute(
            "UPDATE tasks SET wanted = CASE WHEN wanted < :wanted THEN :wanted ELSE wanted END, "
            "gold_json = :gold_json WHERE id = :task",
            wanted=task["wanted"],
            gold_json=task["gold_json"],
            task=task_id,
        )
        return task_id

    def _insert_annotation(self, client_uuid: str, content: Mapping[str, Any]) -> None:
        self.execute(
            "INSERT INTO annotations (client_uuid, created_at, program, task_id, labeler_id, "
            "ranks_json, ratings_json, flags_json, notes, seconds, order_json, use_case, revision) "
            "VALUES (:client_uuid, :now, :program, :task_id, :labeler_id, :ranks_json, "
            ":ratings_json, :flags_json, :notes, :seconds, :order_json, :use_case, "
            "1 + (SELECT coalesce(max(revision), 0) FROM annotations "
            "WHERE task_id = :task_id AND labeler_id = :labeler_id))",
            client_uuid=client_uuid,
            now=self._clock(),
            program=__version__,
            **content,
        )

    def _submission(self, client_uuid: str) -> Mapping[str, Any] | None:
        """What was submitted under this id before."""
        found = self.execute(
            "SELECT * FROM annotations WHERE client_uuid = :client_uuid", client_uuid=client_uuid
        )
        row = found.mappings().first()
        return None if row is None else dict(row)

    def _labeler_id(self, name: str) -> int:
        labeler = self.execute("SELECT id FROM labelers WHERE name = :name", name=name).scalar()
        if labeler is None:
            raise LabelError(f"no labeler '{name}' in '{self.where}'; add_labeler makes one")
        return int(labeler)

    def _num_completions(self, task_id: int) -> int:
        count = self.execute(
            "SELECT count(*) FROM completions WHERE task_id = :task", task=task_id
        ).scalar_one()
        if count == 0:
            raise LabelError(f"no task {task_id} in '{self.where}'")
        return int(count)
