"""What is to be ranked: completions sampled from models, or those that people have ranked."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from instructgpt.config.label import LabelConfig, TaskConfig
from instructgpt.data.problems import report_problems
from instructgpt.data.readers import Reading
from instructgpt.data.records import Prompt, Ranking
from instructgpt.errors import DataError
from instructgpt.judging.agreement_matrix import GivenRanking
from instructgpt.judging.protocol import Look
from instructgpt.models.soft_prompt_files import load_answering_lm
from instructgpt.rollout.engine import Engine
from instructgpt.storage.annotation import MAX_COMPLETIONS, dense_ranks
from instructgpt.training.examples import tokenize_prompts
from instructgpt.training.rollouts import longest_prompt, sampling_params

PEOPLE = "people"
"""The kind of a labeler who is a person, beside the kinds of judges."""


@dataclass(frozen=True, slots=True)
class Task:
    """A prompt with its distinct completions, and the models that wrote them."""

    prompt: Prompt
    completions: tuple[str, ...]
    models: tuple[str | None, ...]

    @property
    def look(self) -> Look:
        """As a judge sees it, in the task's own order."""
        return Look(self.prompt, self.completions)

    @property
    def signed(self) -> list[dict[str, str | None]]:
        """The completions as a label store takes them, with who wrote each."""
        pairs = zip(self.completions, self.models, strict=True)
        return [{"text": text, "model": model} for text, model in pairs]


def sample_tasks(
    config: TaskConfig, records: Sequence[Prompt], seed: int, folder: Path | None = None
) -> list[Task]:
    """K completions of each prompt, shared out among the models; identical ones count once.

    `folder` is for temporary files.
    """
    rng = random.Random(f"{seed}:k")
    wanted = [rng.randint(config.k_min, config.k_max) for _ in records]
    texts: list[list[str]] = [[] for _ in records]
    authors: list[list[str]] = [[] for _ in records]
    for number, source in enumerate(config.models):
        lm = load_answering_lm(source, device=config.hardware.device, dtype=config.hardware.dtype)
        renderer = lm.renderer()
        prompts, prompt_ids = tokenize_prompts(
            records, renderer, longest_prompt(lm.context, config.sampling), folder
        )
        if len(prompts) != len(records):
            raise DataError(
                f"{len(records) - len(prompts)} prompts do not fit the context of '{source}'; "
                "drop long prompts first"
            )
        engine = Engine(
            lm.model, renderer.stop_ids, lm.pad_id, config.sampling.max_slots, dtype=lm.dtype
        )
        params = sampling_params(config.sampling, seed + number)
        shares = [_share(k, number, len(config.models)) for k in wanted]
        for share in sorted(set(shares) - {0}):
            rows = [i for i, s in enumerate(shares) if s == share]
            found = engine.generate([prompt_ids[i] for i in rows], params, n=share, keys=rows)
            for row, rollouts in zip(rows, found, strict=True):
                texts[row] += [renderer.decode(r.completion_ids) for r in rollouts]
                authors[row] += [source] * len(rollouts)
    tasks = (_distinct(prompt, t, a) for prompt, t, a in zip(records, texts, authors, strict=True))
    return [task for task in tasks if len(task.completions) > 1]


def _share(k: int, number: int, of: int) -> int:
    """How many of k completions model `number` writes when `of` models take turns."""
    return len(range(number, k, of))


def _distinct(prompt: Prompt, texts: Sequence[str], authors: Sequence[str]) -> Task:
    by_text = dict(zip(reversed(texts), reversed(authors), strict=True))  # the first author counts
    ordered = list(dict.fromkeys(texts))
    return Task(prompt, tuple(ordered), tuple(by_text[text] for text in ordered))


def tasks_of_people(config: LabelConfig) -> tuple[list[Task], list[GivenRanking]]:
    """Every prompt with the completions that people ranked, and what each of them said.

    The same completions of a prompt in another order are the same task; ranks come in the task's
    order, without gaps. A ranking without a labeler's name counts as one by "people". Errors:
    DataError for more completions than a judge takes.
    """
    assert config.people is not None
    numbers: dict[tuple[str, tuple[str, ...]], int] = {}
    tasks: list[Task] = []
    given: list[GivenRanking] = []
    reading = Reading(config.people, Ranking)
    for _origin, ranking in reading:
        if len(ranking.completions) > MAX_COMPLETIONS:
            raise DataError(
                f"'{config.people}': {len(ranking.completions)} completions of one prompt; judges "
                f"take at most {MAX_COMPLETIONS}"
            )
        key = (ranking.prompt.key, tuple(sorted(ranking.completions)))
        number = numbers.setdefault(key, len(tasks))
        if number == len(tasks):
            if len(tasks) == config.num_prompts:
                break
            models = (None,) * len(ranking.completions)
            tasks.append(Task(ranking.prompt, ranking.completions, models))
        ranks = _in_order_of(tasks[number].completions, ranking)
        name = ranking.labeler or PEOPLE
        given.append(GivenRanking(number, name, PEOPLE, ranks, ranking.prompt.key))
    report_problems(reading.problems)
    return tasks, sorted(given, key=lambda one: one.task)


def _in_order_of(completions: Sequence[str], ranking: Ranking) -> tuple[int, ...]:
    """Ranks of the completions in another order; equal texts share the better rank."""
    best: dict[str, int] = {}
    for text, rank in zip(ranking.completions, ranking.ranks, strict=True):
        best[text] = min(rank, best.get(text, rank))
    return tuple(dense_ranks([best[text] for text in completions]))
