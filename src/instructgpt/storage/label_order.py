"""Between the order in which a labeler saw a task's completions and the task's own.

`order[i]` is where the i-th completion shown stands in the task.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from instructgpt.errors import LabelError
from instructgpt.storage.annotation import Annotation


def in_task_order(shown: Annotation, order: Sequence[int]) -> Annotation:
    """The same answer with its lists in the task's own order. Errors: LabelError for lengths."""

    def back(name: str, values: Sequence[Any]) -> list[Any]:
        if len(values) != len(order):
            raise LabelError(f"{name}: {len(values)} given, and {len(order)} answers were shown")
        placed = dict(zip(order, values, strict=True))
        return [placed[i] for i in range(len(order))]

    flags = {
        name: back(f"flag '{name}'", value) if isinstance(value, list | tuple) else value
        for name, value in shown.flags.items()
    }
    return Annotation(
        back("ranks", shown.ranks),
        None if shown.ratings is None else back("ratings", shown.ratings),
        flags,
        shown.notes,
        shown.seconds,
        tuple(order),
        shown.use_case,
    )


def as_draft(row: Mapping[str, Any], order: Sequence[int]) -> dict[str, Any]:
    """An annotation's row as the page's draft, its lists in the order shown."""

    def shown(values: Any) -> Any:
        return [values[i] for i in order] if isinstance(values, list) else values

    ratings = row["ratings_json"]
    return {
        "ranks": shown(json.loads(row["ranks_json"])),
        "ratings": None if ratings is None else shown(json.loads(ratings)),
        "flags": {name: shown(value) for name, value in json.loads(row["flags_json"]).items()},
        "use_case": row["use_case"],
        "notes": row["notes"],
        "seconds": row["seconds"],
    }
