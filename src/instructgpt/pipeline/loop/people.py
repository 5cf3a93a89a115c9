"""What people do in a round, on the label page: tasks go into the loop's store, answers come out.

A task is stored once, whoever brings it again, so that starting again adds nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from instructgpt.data.jsonl import write_jsonl
from instructgpt.data.readers import load_prompts
from instructgpt.data.records import Demonstration, Prompt, Ranking
from instructgpt.labeling.exchange import (
    add_ranking_tasks,
    exported_demonstrations,
    exported_rankings,
)
from instructgpt.labeling.tasks import Task, sample_tasks
from instructgpt.loop.places import LABELS
from instructgpt.pipeline.loop.work import Waiting, Work
from instructgpt.storage.atomic import publish_directory
from instructgpt.storage.label_store import LabelStore


def demonstrations_by_people(
    path: Path, prompts: Sequence[Prompt], number: int
) -> list[Demonstration]:
    """One answer per prompt, the first that somebody wrote. Errors: Waiting while one lacks."""
    with LabelStore(path) as store:
        with store.transaction():
            for prompt in prompts:
                store.add_demonstration_task(prompt.to_dict())
        answers: dict[str, Demonstration] = {}
        for row in exported_demonstrations(store):
            one = Demonstration.from_dict(row)
            answers.setdefault(one.prompt.key, one)
    wanted = [prompt.key for prompt in prompts]
    _check(number, "demonstrations", wanted, answers, path)
    return [_plain(answers[key]) for key in wanted]


def rank_by_people(work: Work) -> None:
    """Write people/rankings.jsonl, every ranking of this round's tasks. Errors: Waiting."""
    target = work.folder / "people"
    if (target / "rankings.jsonl").exists():
        return
    tasks = _tasks(work)
    path = work.root / LABELS
    people = work.config.people
    assert people is not None  # who asks for rankings by people has looked
    with LabelStore(path) as store:
        add_ranking_tasks(store, tasks, overlap=people.twice, seed=work.config.seed)
        keys = {task.prompt.key for task in tasks}
        given = [row for row in exported_rankings(store) if _key(row) in keys]
    _check(work.number, "rankings", keys, {_key(row) for row in given}, path)
    with publish_directory(target, marker=None) as folder:
        write_jsonl(folder / "rankings.jsonl", (_without_time(row) for row in given))


def _tasks(work: Work) -> list[Task]:
    """Answers of this round's models to its prompts to rank."""
    people = work.config.people
    assert people is not None
    models = tuple(str(work.round_path(model)) for model in people.models)
    config = people.model_copy(update={"models": models})
    prompts = load_prompts(work.folder / "prompts" / "rank.jsonl").records
    return sample_tasks(config, prompts, work.config.seed + work.number)


def _check(
    number: int, what: str, wanted: Iterable[str], given: Iterable[str], store: Path
) -> None:
    missing, total = len(set(wanted) - set(given)), len(set(wanted))
    if missing:
        raise Waiting(
            f"round {number} waits for {what} by people: {missing} of {total} are missing; "
            f"they write them at `instructgpt label serve --store {store}`"
        )


def _key(row: dict[str, Any]) -> str:
    return Ranking.from_dict(row).prompt.key


def _plain(one: Demonstration) -> Demonstration:
    """Without times and notes, which would make the data of a round differ from itself."""
    return Demonstration(one.prompt, one.completion, one.labeler)


def _without_time(row: dict[str, Any]) -> dict[str, Any]:
    ranking = Ranking.from_dict(row)
    return Ranking(ranking.prompt, ranking.completions, ranking.ranks, ranking.labeler).to_dict()
