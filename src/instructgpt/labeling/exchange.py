"""Tasks into a label store, and labels out of it in the records that training reads."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from instructgpt.data.jsonl import read_jsonl
from instructgpt.data.readers import load_prompts
from instructgpt.data.records import Prompt, Ranking
from instructgpt.errors import DataError, LabelError
from instructgpt.labeling.tasks import Task
from instructgpt.storage.label_review import LabelReview
from instructgpt.storage.label_store import LabelStore


def import_rankings(store: LabelStore, path: Path, *, overlap: float, seed: int) -> int:
    """Tasks to rank from rows {"prompt", "completions"}; the number of rows. Ranks in a row are
    not read: rankings that stage `label` wrote can be ranked anew. A prompt may be a plain string.

    `overlap` is the share of tasks that two labelers should rank. Errors: DataError "file:line".
    """
    rows = list(_candidates(path))
    with store.transaction():
        for line, prompt, row in rows:
            with _at(path, line):
                wanted = _wanted(prompt, overlap, seed)
                store.add_task(prompt.to_dict(), _with_models(row), wanted=wanted)
    return len(rows)


def add_ranking_tasks(
    store: LabelStore, tasks: Sequence[Task], *, overlap: float, seed: int
) -> None:
    """`import_rankings` of tasks that were sampled just now."""
    with store.transaction():
        for task in tasks:
            wanted = _wanted(task.prompt, overlap, seed)
            store.add_task(task.prompt.to_dict(), task.signed, wanted=wanted)


def import_screening(store: LabelStore, path: Path) -> int:
    """The screening test: rankings (expected ranks; flags of the instruction in `meta.flags`),
    and prompts without completions to be demonstrated. A prompt may be a plain string. Errors:
    DataError "file:line".
    """
    count = 0
    with store.transaction():
        for line, row in read_jsonl(path):
            with _at(path, line):
                row = _with_turns(row)
                if isinstance(row, dict) and "completions" in row:
                    ranking = Ranking.from_dict(row)
                    gold = {
                        "ranks": list(ranking.ranks),
                        "flags": ranking.meta.get("flags", {}),
                    }
                    store.add_task(ranking.prompt.to_dict(), ranking.completions, gold=gold)
                else:
                    prompt = Prompt.from_dict(row)
                    store.add_demonstration_task(prompt.to_dict(), screening=True)
            count += 1
    return count


def import_demonstrations(store: LabelStore, path: Path, *, overlap: float, seed: int) -> int:
    """Prompts to write answers for, in any format that holds prompts; their number."""
    prompts = load_prompts(path).records
    with store.transaction():
        for prompt in prompts:
            wanted = _wanted(prompt, overlap, seed)
            store.add_demonstration_task(prompt.to_dict(), wanted=wanted)
    return len(prompts)


def exported_rankings(store: LabelStore) -> Iterator[dict[str, Any]]:
    """Rankings for `reward_model` and `dpo`: without the screening test, and where the lead has
    resolved a conflict only the ranking that counts.
    """
    resolved = LabelReview(store).resolutions()
    for row in store.rankings(screening=False):
        if resolved.get(row["meta"]["task"], row["labeler"]) == row["labeler"]:
            yield row


def exported_demonstrations(store: LabelStore) -> Iterator[dict[str, Any]]:
    """Demonstrations for `sft`, without the screening test."""
    return LabelReview(store).demonstrations(screening=False)


def split_by_prompt(
    rows: Iterable[dict[str, Any]], heldout: float, seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(rows to train on, rows held out): all rows of a prompt are on one side. At least one prompt
    is held out when a share `heldout` > 0 is wanted and there are two.
    """
    by_prompt: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_prompt.setdefault(Ranking.from_dict(row).prompt.key, []).append(row)
    keys = sorted(by_prompt)
    random.Random(f"{seed}:heldout").shuffle(keys)
    count = round(heldout * len(keys))
    if heldout > 0 and len(keys) > 1:
        count = min(max(count, 1), len(keys) - 1)
    held = set(keys[:count])
    train = [row for key, rows in by_prompt.items() if key not in held for row in rows]
    return train, [row for key, rows in by_prompt.items() if key in held for row in rows]


def _wanted(prompt: Prompt, overlap: float, seed: int) -> int:
    """How many labelers should do a task: two for a share `overlap` of the prompts, else one."""
    return 2 if random.Random(f"{seed}:overlap:{prompt.key}").random() < overlap else 1


@contextmanager
def _at(path: Path, line: int) -> Iterator[None]:
    """Names file and line in what is wrong with a row."""
    try:
        yield
    except (ValueError, LabelError) as error:
        raise DataError(f"{path}:{line}: {error}") from error


def _candidates(path: Path) -> Iterator[tuple[int, Prompt, dict[str, Any]]]:
    """(line, prompt, row) of every row."""
    for line, row in read_jsonl(path):
        with _at(path, line):
            if not isinstance(row, dict) or not isinstance(row.get("completions"), list):
                raise ValueError('expected {"prompt": ..., "completions": [...]}')
            row = _with_turns(row)
            kept = {key: row[key] for key in ("prompt", "id", "user") if key in row}
            prompt = Prompt.from_dict({**kept, "meta": row.get("prompt_meta", {})})
        yield line, prompt, row


def _with_turns(row: Any) -> Any:
    """The row with its prompt as turns, if that is a plain string."""
    if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
        return row
    return {**row, "prompt": [{"role": "user", "content": row["prompt"]}]}


def _with_models(row: Mapping[str, Any]) -> Sequence[str | Mapping[str, Any]]:
    """The completions, with the models that `meta` says wrote them."""
    meta = row.get("meta")
    models = meta.get("models") if isinstance(meta, dict) else None
    texts: Sequence[Any] = row["completions"]
    if not isinstance(models, list) or len(models) != len(texts):
        return texts
    return [
        {"text": text, "model": model} if isinstance(text, str) else text
        for text, model in zip(texts, models, strict=True)
    ]
