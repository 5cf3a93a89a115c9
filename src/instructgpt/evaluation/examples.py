"""Real prompts with every model's answer side by side, spread over tasks and languages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from instructgpt.data.jsonl import read_jsonl
from instructgpt.errors import DataError
from instructgpt.evaluation.report_names import in_order, model_label

_SHOWN = ("sampled", "greedy")


def read_examples(completions: Path, limit: int) -> list[dict[str, Any]]:
    """Up to `limit` prompts of completions.jsonl, taking turns among (task, language) groups.

    Each has `turns`, `task`, `language`, `held_out`, and `answers`: one row per model with a cell
    per condition. Errors: DataError when the file is missing or broken.
    """
    by_prompt: dict[int, list[Mapping[str, Any]]] = {}
    for number, row in read_jsonl(completions):
        try:
            by_prompt.setdefault(row["prompt_index"], []).append(row)
        except (KeyError, TypeError) as error:
            raise DataError(f"{completions}:{number}: not an answer ({error!r})") from error
    groups: dict[tuple[str, str], list[int]] = {}
    for index, rows in sorted(by_prompt.items()):
        meta = rows[0].get("meta", {})
        groups.setdefault((str(meta.get("task")), str(meta.get("language"))), []).append(index)
    return [_example(by_prompt[i]) for i in _take_turns(list(groups.values()), limit)]


def _take_turns(groups: Sequence[Sequence[int]], limit: int) -> list[int]:
    longest = max(map(len, groups), default=0)
    turns = [group[i] for i in range(longest) for group in groups if i < len(group)]
    return turns[:limit]


def _example(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    meta = rows[0].get("meta", {})
    held_out = [what for what in ("phrasing", "fact") if meta.get(f"{what}_held_out")]
    cells: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["condition"] in _SHOWN:
            cells.setdefault(row["model"], {})[row["condition"]] = _cell(row)
    return {
        "turns": rows[0]["prompt"],
        "task": meta.get("task"),
        "language": meta.get("language"),
        "held_out": held_out,
        "answers": [
            {"model": model_label(name), **{c: cells[name].get(c) for c in _SHOWN}}
            for name in in_order(cells)
        ],
    }


def _cell(row: Mapping[str, Any]) -> dict[str, Any]:
    gold = row.get("gold")
    return {
        "text": row["completion"],
        "ended": row["ended"],
        "gold": None if gold is None else gold["score"],
        "ok": None if gold is None else gold["ok"],
        "faults": [] if gold is None else [n for n, v in gold["components"].items() if v < 1],
    }
