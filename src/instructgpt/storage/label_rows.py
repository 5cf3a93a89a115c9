"""Between the label store's rows and the JSON forms that the rest of the house reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from instructgpt.data.records import Prompt
from instructgpt.errors import LabelError
from instructgpt.storage.annotation import Annotation, dense_ranks
from instructgpt.storage.fingerprint import canonical_json, fingerprint_json


def prompt_key(prompt: Mapping[str, Any]) -> str:
    """`Prompt.key`: the same conversation has the same key. Errors: LabelError."""
    try:
        return Prompt.from_dict(prompt).key
    except ValueError as error:
        raise LabelError(f"a task's prompt: {error}") from error


def task_row(
    prompt: Mapping[str, Any],
    key: str,
    content: Any,
    meta: Mapping[str, Any] | None,
    *,
    kind: str,
    wanted: int,
    gold: Mapping[str, Any] | None = None,
    screening: bool = False,
) -> dict[str, Any]:
    """A task's columns as stored; `content` is what makes it the same task as another."""
    return {
        "prompt_json": canonical_json(prompt),
        "prompt_key": key,
        "content_key": fingerprint_json(content),
        "meta_json": canonical_json(meta or {}),
        "kind": kind,
        "wanted": wanted,
        "screening": int(screening),
        "gold_json": None if gold is None else canonical_json(gold),
    }


def completion_row(completion: str | Mapping[str, Any]) -> dict[str, str | None]:
    """Its columns as stored."""
    if isinstance(completion, str):
        return {"text": completion, "model": None, "sampling_json": "{}"}
    unknown = set(completion) - {"text", "model", "sampling"}
    text = completion.get("text")
    if unknown or not isinstance(text, str):
        raise LabelError(
            f"a completion is a text or {{text, model, sampling}}, not {sorted(completion)}"
        )
    sampling = canonical_json(completion.get("sampling", {}))
    return {"text": text, "model": completion.get("model"), "sampling_json": sampling}


def annotation_row(annotation: Annotation) -> dict[str, Any]:
    """Its columns as stored."""
    ratings, seconds, order = annotation.ratings, annotation.seconds, annotation.order
    return {
        "ranks_json": canonical_json(annotation.ranks),
        "ratings_json": None if ratings is None else canonical_json(ratings),
        "flags_json": canonical_json(annotation.flags),
        "notes": annotation.notes,
        "seconds": None if seconds is None else float(seconds),
        "order_json": None if order is None else canonical_json(order),
        "use_case": annotation.use_case,
    }


def ranking_row(row: Mapping[str, Any], completions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
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
