"""Rankings and who gave them, when, and what else they said: one SQLite file, nothing lost.

Annotations are only ever added. A labeler who changes their mind adds a revision; exports take
the last one. Every submission is one transaction and carries an id made by its sender, so that
sending it again after a broken connection or a kill changes nothing.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from instructgpt import __version__
from instructgpt.errors import LabelError, RunDirError
from instructgpt.storage.annotation import MAX_COMPLETIONS, MIN_COMPLETIONS, Annotation
from instructgpt.storage.environment import utc_now
from instructgpt.storage.fingerprint import canonical_json, fingerprint_json
from instructgpt.storage.label_rows import (
    annotation_row,
    completion_row,
    prompt_key,
    ranking_row,
)
from instructgpt.storage.migrations import migrate
from instructgpt.storage.sqlite import connect, sqlite_errors

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


class LabelStore:
    """Labelers, tasks and annotations in the file `path`, which is made if it is missing.

    Safe to share between threads, and between processes on one machine. Errors: RunDirError when
    the disk is full or refuses, DataError when the file is not a label store or damaged.
    """

    def __init__(self, path: str | Path, clock: Callable[[], str] = utc_now) -> None:
        self.path = Path(path)
        self._clock = clock
        self._guard = threading.RLock()
        self._connection = connect(self.path)
        try:
            with sqlite_errors(self.path):
                migrate(self._connection)
        except BaseException:
            self._connection.close()
            raise

    def fold_log(self) -> None:
        """Write the write-ahead log into the file and empty it. Errors: RunDirError when another
        process keeps it busy for half a minute.
        """
        with self._guard, sqlite_errors(self.path):
            (busy, _, _) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise RunDirError(f"'{self.path}' is being read elsewhere; stop that, and try again")

    def close(self) -> None:
        """Close the file; the write-ahead log beside it is folded in."""
        self._connection.close()

    def __enter__(self) -> LabelStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def connection(self) -> sqlite3.Connection:
        """For the other tables of the file; use it inside `transaction`."""
        return self._connection

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is stored together or not at all; for thousands of labels at once."""
        with self._guard:
            if self._connection.in_transaction:
                yield
                return
            with sqlite_errors(self.path):
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield
                    self._connection.execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise

    def add_labeler(
        self, name: str, kind: str = "person", meta: Mapping[str, Any] | None = None
    ) -> int:
        """The labeler's id; a name that is known already keeps its kind and meta.

        `kind` says who it is: person, simulated, model.
        """
        with self.transaction():
            self._connection.execute(
                "INSERT INTO labelers (name, kind, meta_json, created_at) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (name) DO NOTHING",
                (name, kind, canonical_json(meta or {}), self._clock()),
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
        content_key = fingerprint_json([key, [[text, model] for text, model, _ in rows]])
        answers = None if gold is None else canonical_json(gold)
        task = (canonical_json(prompt), key, content_key, canonical_json(meta or {}))
        return self._insert_task((*task, "rank", wanted, gold is not None, answers), rows)

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
        content_key = fingerprint_json([key, "demonstrate"])
        task = (canonical_json(prompt), key, content_key, canonical_json(meta or {}))
        return self._insert_task((*task, "demonstrate", wanted, screening, None), [])

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
            content = (task_id, labeler_id, *annotation_row(annotation))
            earlier = self._submission(client_uuid)
            if earlier is not None:
                if earlier[1:] != content:
                    raise LabelError(f"submission '{client_uuid}' was already used differently")
                return int(earlier[0])
            return self._insert_annotation(client_uuid, content)

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
        with sqlite_errors(self.path), closing(connect(self.path)) as reader:
            reader.execute("BEGIN")
            for row in reader.execute(_LAST_WORDS, {"screening": screening, "task": task}):
                completions = reader.execute(
                    "SELECT text, model, sampling_json FROM completions WHERE task_id = ? "
                    "ORDER BY position",
                    (row["task_id"],),
                ).fetchall()
                yield ranking_row(row, completions)

    def counts(self) -> dict[str, int]:
        """How many labelers, tasks and annotations there are, and how many rankings count."""
        with self._guard, sqlite_errors(self.path):
            row = self._connection.execute(
                "SELECT (SELECT count(*) FROM labelers) AS labelers,"
                " (SELECT count(*) FROM tasks) AS tasks,"
                " (SELECT count(*) FROM annotations) AS annotations,"
                " (SELECT count(*) FROM (SELECT DISTINCT task_id, labeler_id FROM annotations))"
                " AS rankings"
            ).fetchone()
            return dict(row)

    def _insert_task(self, task: tuple[Any, ...], rows: list[tuple[Any, ...]]) -> int:
        with self.transaction():
            found = self._connection.execute(
                "SELECT id FROM tasks WHERE content_key = ?", (task[2],)
            ).fetchone()
            if found is not None:
                return self._wanted_again(int(found["id"]), task)
            task_id = self._connection.execute(
                "INSERT INTO tasks (prompt_json, prompt_key, content_key, meta_json, kind, wanted, "
                "screening, gold_json, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*task, self._clock()),
            ).lastrowid
            assert task_id is not None
            self._connection.executemany(
                "INSERT INTO completions (task_id, position, text, model, sampling_json) "
                "VALUES (?, ?, ?, ?, ?)",
                [(task_id, position, *row) for position, row in enumerate(rows)],
            )
            return task_id

    def _wanted_again(self, task_id: int, task: tuple[Any, ...]) -> int:
        """The same task, which is stored once: more labelers may be wanted, or other gold."""
        wanted, screening, gold = task[-3:]
        (was_screening,) = self._connection.execute(
            "SELECT screening FROM tasks WHERE id = ?", (task_id,)
        ).fetchone()
        if bool(was_screening) != screening:
            raise LabelError(
                f"task {task_id} is the same, and it is {'' if was_screening else 'not '}part of "
                "the screening test; it cannot be both"
            )
        self._connection.execute(
            "UPDATE tasks SET wanted = max(wanted, ?), gold_json = ? WHERE id = ?",
            (wanted, gold, task_id),
        )
        return task_id

    def _insert_annotation(self, client_uuid: str, content: tuple[Any, ...]) -> int:
        task_id, labeler_id = content[:2]
        (last,) = self._connection.execute(
            "SELECT coalesce(max(revision), 0) FROM annotations "
            "WHERE task_id = ? AND labeler_id = ?",
            (task_id, labeler_id),
        ).fetchone()
        annotation_id = self._connection.execute(
            "INSERT INTO annotations (client_uuid, revision, created_at, program, task_id, "
            "labeler_id, ranks_json, ratings_json, flags_json, notes, seconds, order_json, "
            "use_case) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (client_uuid, last + 1, self._clock(), __version__, *content),
        ).lastrowid
        assert annotation_id is not None
        return annotation_id

    def _submission(self, client_uuid: str) -> tuple[Any, ...] | None:
        """(annotation id, *content) of what was submitted under this id before."""
        row = self._connection.execute(
            "SELECT id, task_id, labeler_id, ranks_json, ratings_json, flags_json, notes, seconds, "
            "order_json, use_case FROM annotations WHERE client_uuid = ?",
            (client_uuid,),
        ).fetchone()
        return None if row is None else tuple(row)

    def _labeler_id(self, name: str) -> int:
        row = self._connection.execute("SELECT id FROM labelers WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise LabelError(f"no labeler '{name}' in '{self.path}'; add_labeler makes one")
        return int(row["id"])

    def _num_completions(self, task_id: int) -> int:
        (count,) = self._connection.execute(
            "SELECT count(*) FROM completions WHERE task_id = ?", (task_id,)
        ).fetchone()
        if count == 0:
            raise LabelError(f"no task {task_id} in '{self.path}'")
        return int(count)
