"""Erasing what belongs to a user whose prompts were labeled: the one way in which rows disappear.

The prompt, its completions, and everything that labelers said of them go; that something went,
and how much, is an event. The task's number stays, empty, so that no other gets it.
"""

from __future__ import annotations

import json

from instructgpt.storage.label_access import record_event
from instructgpt.storage.label_store import LabelStore

_ERASED = '{"prompt":[{"content":"","role":"user"}]}'
# children before parents
_TABLES = ("annotations", "demonstrations", "events", "assignments", "completions")


def forget_user(store: LabelStore, user: str, actor: str) -> int:
    """Erase every task whose prompt is of `user`; the number of tasks. Not to be undone.

    Nothing of it is left in the files of the tables. Errors: RunDirError when somebody else keeps
    them busy; what was to be forgotten is deleted by then, and the next call finishes the rest.
    """
    with store.transaction():
        rows = store.execute("SELECT id, prompt_json FROM tasks").all()
        tasks = [row.id for row in rows if json.loads(row.prompt_json).get("user") == user]
        for task in tasks:
            _forget_task(store, task)
            record_event(store, "forgotten", actor, detail={"task": task})  # this one stays
    store.scrub("drafts", *_TABLES, "tasks")
    return len(tasks)


def _forget_task(store: LabelStore, task: int) -> None:
    store.execute(
        "INSERT INTO forgotten (task_id, created_at) VALUES (:task, :now)",
        task=task,
        now=store.now(),
    )
    store.execute(
        "DELETE FROM drafts WHERE assignment_id IN "
        "(SELECT id FROM assignments WHERE task_id = :task)",
        task=task,
    )
    for table in _TABLES:
        store.execute(f"DELETE FROM {table} WHERE task_id = :task", task=task)
    store.execute(
        "UPDATE tasks SET prompt_json = :erased, prompt_key = '', content_key = :content_key, "
        "meta_json = '{}', gold_json = NULL, kind = 'forgotten', wanted = 0, screening = 0 "
        "WHERE id = :task",
        erased=_ERASED,
        content_key=f"forgotten {task}",
        task=task,
    )
