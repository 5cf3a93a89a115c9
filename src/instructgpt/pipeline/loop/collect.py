"""Phase `collected`: of the prompts that users gave, those that this round learns from.

Only with consent, without personal data, capped per user, each at most once in all rounds; who has
asked to be forgotten is in none of it, neither in what is new nor in what earlier rounds took.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from instructgpt.data.hygiene.cleaned import Cleaned
from instructgpt.data.hygiene.removals import Row
from instructgpt.data.jsonl import write_jsonl
from instructgpt.data.readers import Origin, load_demonstrations, load_prompts
from instructgpt.data.records import Demonstration, Prompt, Ranking
from instructgpt.errors import ConfigError
from instructgpt.loop.feedback import (
    PROMPTS,
    RANKINGS,
    forgotten_users,
    read_prompts,
    read_records,
)
from instructgpt.loop.places import FEEDBACK
from instructgpt.pipeline.hygiene import clean_rows, write_removals
from instructgpt.pipeline.loop.users import SimulatedUsers
from instructgpt.pipeline.loop.work import Waiting, Work
from instructgpt.storage.atomic import publish_directory
from instructgpt.storage.run_dir import RunDir

R = TypeVar("R", Prompt, Demonstration, Ranking)

USES = ("demonstrate", "rank", "judge", "ppo_new")


@dataclass(frozen=True)
class Fresh:
    """Prompts that no round has taken, in order of arrival; what was left out, and why."""

    prompts: list[Prompt]
    cleaned: Cleaned
    left_out: dict[str, int]


def collect(work: Work) -> None:
    """Write prompts/: one file per use, ppo.jsonl and rankings.jsonl with all rounds' so far.

    Errors: Waiting while users have given too few, ConfigError where they never can give enough.
    """
    wanted = work.config.prompts.wanted
    _check_supply(work)
    if work.config.users is not None:
        SimulatedUsers(work).ask(enough=lambda: len(_fresh(work).prompts) >= wanted)
    fresh = _fresh(work)
    if len(fresh.prompts) < wanted:
        raise Waiting(
            f"round {work.number} waits for prompts: users have given {len(fresh.prompts)} of "
            f"{wanted}; they come through `instructgpt serve {work.root}`"
        )
    with publish_directory(work.folder / "prompts", marker=None) as folder:
        counts = _write(work, folder, fresh.prompts[:wanted])
        write_removals(fresh.cleaned, folder / "removals.jsonl")
    work.note("collected", **counts, left_out=fresh.left_out)


def remembered(paths: Sequence[Path], kind: type[R], forgotten: set[str]) -> Iterator[R]:
    """The records of several files, without those of users who were forgotten since."""
    for path in paths:
        for _, record in read_records(path, kind.from_dict):
            prompt = record if isinstance(record, Prompt) else record.prompt
            if prompt.user not in forgotten:
                yield record


def _check_supply(work: Work) -> None:
    """Errors: ConfigError when the prompts that may come are fewer than are wanted."""
    users, known = work.config.users, work.config.prompts.known
    sources = {"prompts.known": known, "users.prompts": None if users is None else users.prompts}
    may_come = [
        {prompt.key for prompt in load_prompts(work.path(path)).records}
        for path in sources.values()
        if path is not None
    ]
    if not may_come:
        return
    left = len(set.intersection(*may_come) - _keys(_of_rounds(work, *USES)))
    if left < work.config.prompts.wanted:
        names = " and ".join(name for name, path in sources.items() if path is not None)
        raise ConfigError(
            f"prompts.wanted: {names} hold {left} prompts that no round has taken, and "
            f"{work.config.prompts.wanted} are wanted; lower it, or give more prompts"
        )


def _fresh(work: Work) -> Fresh:
    rows, left_out = _given(work)
    hygiene = work.config.hygiene
    sets = tuple(str(work.path(path)) for path in hygiene.evaluation)
    hygiene = hygiene.model_copy(update={"evaluation": sets})
    cleaned, _ = clean_rows(rows, hygiene, work.config.seed, work.root)
    left_out.update(removal.reason for removal in cleaned.removals)
    taken = _keys(_of_rounds(work, *USES))
    fresh: dict[str, Prompt] = {}
    for row in cleaned.rows:
        assert isinstance(row.record, Prompt)
        if row.record.key not in taken:
            fresh.setdefault(row.record.key, row.record)
    return Fresh(list(fresh.values()), cleaned, dict(left_out))


def _given(work: Work) -> tuple[list[Row], Counter[str]]:
    """What users gave and may be used, and counts of what may not."""
    folder = work.root / FEEDBACK
    forgotten, known = forgotten_users(folder), _known(work)
    rows: list[Row] = []
    left_out: Counter[str] = Counter()
    for number, prompt in read_prompts(folder):
        if not prompt.meta.get("consent"):
            left_out["without_consent"] += 1
        elif prompt.user in forgotten:
            left_out["taken_back"] += 1
        elif known is not None and prompt.key not in known:
            left_out["not_known"] += 1
        else:
            # when somebody agreed stays in the log: the round's files say the same each time
            meta = {} if known is None else known[prompt.key]
            rows.append(Row(replace(prompt, meta=meta), Origin(str(folder / PROMPTS), number)))
    return rows, left_out


def _known(work: Work) -> dict[str, dict[str, Any]] | None:
    if work.config.prompts.known is None:
        return None
    records = load_prompts(work.path(work.config.prompts.known)).records
    return {prompt.key: prompt.meta for prompt in records}


def _write(work: Work, folder: Path, chosen: list[Prompt]) -> dict[str, int]:
    """Deal the prompts out, so that no use gets the early ones, and add what rounds had before."""
    settings = work.config.prompts
    random.Random(f"{work.config.seed}:deal:{work.number}").shuffle(chosen)
    forgotten = forgotten_users(work.root / FEEDBACK)
    wanted = (settings.demonstrate, settings.rank, settings.judge, len(chosen))
    counts = {}
    for use, count in zip(USES, wanted, strict=True):
        own = _untaught(work, chosen)[:count] if use == "judge" else chosen[:count]
        dealt = {prompt.key for prompt in own}
        chosen = [prompt for prompt in chosen if prompt.key not in dealt]
        counts[use] = write_jsonl(folder / f"{use}.jsonl", (p.to_dict() for p in own))
    ppo = [*_of_rounds(work, "ppo_new"), folder / "ppo_new.jsonl"]
    everything = remembered(ppo, Prompt, forgotten)
    counts["ppo"] = write_jsonl(folder / "ppo.jsonl", (p.to_dict() for p in everything))
    rankings = _rankings(work, _keys([*_of_rounds(work, "judge"), folder / "judge.jsonl"]))
    counts["rankings"] = write_jsonl(folder / "rankings.jsonl", (r.to_dict() for r in rankings))
    return counts


def _untaught(work: Work, prompts: list[Prompt]) -> list[Prompt]:
    """Those that judges may compare on: no demonstration from before the loop answers them.

    Errors: ConfigError when they are too few.
    """
    also = work.config.demonstrations.also
    taught = {
        one.prompt.key for path in also for one in load_demonstrations(work.path(path)).records
    }
    found = [prompt for prompt in prompts if prompt.key not in taught]
    if len(found) < work.config.prompts.judge:
        raise ConfigError(
            f"prompts.judge: of this round's prompts only {len(found)} for judges are not in "
            "demonstrations.also, which train; lower it, or raise prompts.wanted"
        )
    return found


def _rankings(work: Work, kept_apart: set[str]) -> Iterator[Ranking]:
    """What earlier rounds learned to rank from, and the blind votes since, each once; nothing on
    prompts that judges compare on.
    """
    forgotten, seen = forgotten_users(work.root / FEEDBACK), set()
    votes = work.root / FEEDBACK / RANKINGS
    for ranking in remembered([*_labeled(work), votes], Ranking, forgotten):
        if ranking.prompt.key in kept_apart:
            continue
        if ranking.meta.get("consent"):  # a vote as users gave it; when they agreed stays there
            ranking = replace(ranking, meta={"models": ranking.meta.get("models")})
        said = json.dumps(ranking.to_dict(), sort_keys=True)
        if said not in seen:
            seen.add(said)
            yield ranking


def _labeled(work: Work) -> Iterator[Path]:
    """The training rankings of the `label` stages of earlier rounds."""
    for folder in work.rounds_before():
        for manifest in sorted(folder.glob("*/manifest.json")):
            run = RunDir.view(manifest.parent)
            if run.stage == "label" and run.is_done:
                yield run.path("rankings.jsonl")


def _of_rounds(work: Work, *uses: str) -> list[Path]:
    return [folder / "prompts" / f"{use}.jsonl" for folder in work.rounds_before() for use in uses]


def _keys(paths: Sequence[Path]) -> set[str]:
    return {prompt.key for prompt in remembered(paths, Prompt, set())}
