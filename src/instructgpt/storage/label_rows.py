"""Between the label store's rows and the JSON forms that the rest of the house reads."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from instructgpt.data.records import Prompt
from instructgpt.errors import LabelError
from instructgpt.storage.annotation import Annotation, dense_ranks
from instructgpt.storage.fingerprint import canonical_json


def prompt_key(prompt: Mapping[str, Any]) -> str:
    """`Prompt.key`: the same conversation has the same key. Errors: LabelError."""
    try:
        return Prompt.from_dict(prompt).key
    except ValueError as error:
        raise LabelError(f"a task's prompt: {error}") from error


def completion_row(completion: str | Mapping[str, Any]) -> tuple[str, str | None, str]:
    """(text, model, sampling) as stored."""
    if isinstance(completion, str):
        return completion, None, "{}"
    unknown = set(completion) - {"text", "model", "sampling"}
    text = completion.get("text")
    if unknown or not isinstance(text, str):
        raise LabelError(
            f"a completion is a text or {{text, model, sampling}}, not {sorted(completion)}"
        )
    return text, completion.get("model"), canonical_json(completion.get("sampling", {}))


def annotation_row(annotation: Annotation) -> tuple[Any, ...]:
    """(ranks, ratings, flags, notes, seconds, order, use case) as stored."""
    return (
        canonical_json(annotation.ranks),
        None if annotation.ratings is None else canonical_json(annotation.ratings),
        canonical_json(annotation.flags),
        annotation.notes,
        None if annotation.seconds is None else float(annotation.seconds),
        None if annotation.order is None else canonical_json(annotation.order),
        annotation.use_case,
    )


def ranking_row(row: sqlite3.Row, completions: list[sqlite3.Row]) -> dict[str, Any]:
    """The JSON form of a ranking, from an annotation joined with its task and labeler."""
    meta = {
        "task": row["task_id"],
        "revision": row["revision"],
        "labeler_kind": row["kind"],
        "models": [completion["model"] for completion in completions],
        "sampling": [json.loads(completion["sampling_json"]) for completion in completions],
        "ratings": _loads(row["ratings_json"]),
        "flags": json.loads(row["flags_json"]),
        "use_case": row["use_case"],
        "notes": row["notes"],
        "seconds": row["seconds"],
        "order": _loads(row["order_json"]),
        "created_at": row["created_at"],
        "task_meta": json.loads(row["task_meta_json"]),
    }
    return {
        **_prompt(row["prompt_json"]),
        "completions": [completion["text"] for completion in completions],
        "ranks": dense_ranks(json.loads(row["ranks_json"])),
        "labeler": row["labeler"],
        "meta": meta,
    }


def demonstration_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON form of a demonstration, from a row joined with its task, labeler and score."""
    meta = {name: row[name] for name in ("revision", "notes", "seconds", "created_at")}
    score = _loads(row["score_json"])
    return {
        **_prompt(row["prompt_json"]),
        "completion": row["text"],
        "labeler": row["labeler"],
        "meta": {
            "task": row["task_id"],
            **meta,
            "score": None if score is None else score["score"],
            "task_meta": json.loads(row["task_meta_json"]),
        },
    }


def _prompt(text: str) -> dict[str, Any]:
    prompt: dict[str, Any] = json.loads(text)
    if "meta" in prompt:
        prompt["prompt_meta"] = prompt.pop("meta")
    return prompt


def _loads(text: str | None) -> Any:
    return None if text is None else json.loads(text)
