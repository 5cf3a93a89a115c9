"""Records as token ids, with what does not fit counted and named rather than cut."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from instructgpt.data.records import Demonstration, Prompt, Ranking
from instructgpt.data.spool import Spool
from instructgpt.errors import DataError
from instructgpt.storage.token_store import TokenSequence
from instructgpt.text.chat_template import ChatRenderer, TrainOn

logger = logging.getLogger(__name__)


class TokenRanking(NamedTuple):
    """One ranking as token ids: K prompt + completion sequences with masks on the completion."""

    sequences: list[TokenSequence]
    ranks: tuple[int, ...]


def tokenize_demonstrations(
    demonstrations: Iterable[Demonstration],
    renderer: ChatRenderer,
    loss_on: TrainOn,
    max_tokens: int,
) -> Iterator[TokenSequence]:
    """Demonstrations as (ids, loss mask); those over `max_tokens` are left out and counted."""
    total = kept = 0
    for demonstration in demonstrations:
        total += 1
        task = _known_task(demonstration.prompt, renderer, f"demonstration {total}")
        ids, mask = renderer.dialogue_ids(demonstration.messages, loss_on, task)
        if len(ids) <= max_tokens:
            kept += 1
            yield ids, mask
    _report_dropped(total - kept, total, "demonstrations", max_tokens)


def tokenize_rankings(
    rankings: Iterable[Ranking], renderer: ChatRenderer, max_tokens: int
) -> Iterator[TokenRanking]:
    """Rankings as token ids; one with a completion over `max_tokens` is left out whole.

    Rankings in which every completion is tied say nothing and are left out too.
    """
    total = kept = tied = 0
    for ranking in rankings:
        total += 1
        if len(set(ranking.ranks)) < 2:
            tied += 1
            continue
        sequences = [completion_sequence(renderer, ranking.prompt, c) for c in ranking.completions]
        if max(len(ids) for ids, _ in sequences) <= max_tokens:
            kept += 1
            yield TokenRanking(sequences, ranking.ranks)
    _report_dropped(total - tied - kept, total, "rankings", max_tokens)
    if tied:
        logger.warning("%d of %d rankings left out: every completion is tied", tied, total)


def completion_sequence(renderer: ChatRenderer, prompt: Prompt, completion: str) -> TokenSequence:
    """Prompt, completion and its end token; the mask covers completion and end token."""
    return renderer.dialogue_ids(Demonstration(prompt, completion).messages, "last")


def tokenize_prompts(
    prompts: Iterable[Prompt],
    renderer: ChatRenderer,
    max_tokens: int,
    folder: Path | None,
) -> tuple[Sequence[Prompt], Sequence[list[int]]]:
    """Prompts up to the assistant's turn; those over `max_tokens` are left out and counted.

    The paper drops long prompts instead of cutting them (appendix C). What is kept is in temporary
    files in `folder`, or where the system keeps such.
    """
    kept: Spool[Prompt] = Spool(folder=folder)
    kept_ids: Spool[list[int]] = Spool(folder=folder)
    total = 0
    for total, prompt in enumerate(prompts, 1):
        task = _known_task(prompt, renderer, f"prompt {total}")
        ids = renderer.prompt_ids(prompt.messages, task)
        if len(ids) <= max_tokens:
            kept.append(prompt)
            kept_ids.append(list(ids))
    _report_dropped(total - len(kept), total, "prompts", max_tokens)
    if not kept:
        raise DataError(f"none of the {total} prompts fits into {max_tokens} tokens")
    return kept, kept_ids


def task_of(prompt: Prompt) -> str | None:
    """What the record says it is about: its field `task`, or `meta.task`."""
    task = prompt.meta.get("task")
    return None if task is None else str(task)


def _known_task(prompt: Prompt, renderer: ChatRenderer, name: str) -> str | None:
    """Its task. Errors: DataError naming the record, if the model's soft prompts lack it."""
    task = task_of(prompt)
    try:
        renderer.prefix(task)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    return task


def _report_dropped(dropped: int, total: int, what: str, max_tokens: int) -> None:
    if dropped:
        logger.warning("%d of %d %s left out: over %d tokens", dropped, total, what, max_tokens)
