"""Erasing what belongs to a user whose prompts were labeled: the one way in which rows disappear.

The prompt, its completions, and everything that labelers said of them go; that something went,
and how much, is an event. The task's number stays, empty, so that no other gets it.
"""

from __future__ import annotations

from pathlib import Path

from instructgpt.storage.label_access import record_event
from instructgpt.storage.label_store import LabelStore
from instructgpt.storage.sqlite import table_names

_ERASED = '{"prompt":[{"content":"","role":"user"}]}'
# children before parents
_TABLES = ("annotations", "demonstrations", "events", "assignments", "completions")


def is_label_store(path: Path) -> bool:
    """Whether the SQLite file holds labels; opening another one as a store would change it."""
    return {"labelers", "tasks", "annotations"} <= table_names(path)


def forget_user(store: LabelStore, user: str, actor: str) -> int:
    """Erase every task whose prompt is of `user`; the number of tasks. Not to be undone.

    Nothing of it is left in the file: freed pages are overwritten, the write-ahead log is emptied.
    """
    connection = store.connection
    with store.transaction():
        connection.execute("PRAGMA secure_delete = ON")
        tasks = [
            row["id"]
            for row in connection.execute(
                "SELECT id FROM tasks WHERE json_extract(prompt_json, '$.user') = ?", (user,)
            )
        ]
        for task in tasks:
            connection.execute("INSERT INTO forgotten VALUES (?, ?)", (task, store.now()))
            connection.execute(
                "DELETE FROM drafts WHERE assignment_id IN "
                "(SELECT id FROM assignments WHERE task_id = ?)",
                (task,),
            )
            for table in _TABLES:
                connection.execute(f"DELETE FROM {table} WHERE task_id = ?", (task,))
            connection.execute(
                "UPDATE tasks SET prompt_json = ?, prompt_key = '', content_key = ?, "
                "meta_json = '{}', gold_json = NULL, kind = 'forgotten', wanted = 0, screening = 0 "
                "WHERE id = ?",
                (_ERASED, f"forgotten {task}", task),
            )
            record_event(store, "forgotten", actor, detail={"task": task})  # this one stays
    store.fold_log()
    return len(tasks)
