"""Phase `collected`: of the prompts that users gave, those that this round learns from.

Only with consent, without personal data, capped per user, each at most once in all rounds; who has
asked to be forgotten is in none of it, neither in what is new nor in what earlier rounds took.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from instructgpt.data.hygiene.cleaned import Cleaned
from instructgpt.data.hygiene.removals import Row
from instructgpt.data.jsonl import read_jsonl, write_jsonl
from instructgpt.data.readers import Origin, load_prompts
from instructgpt.data.records import Demonstration, Prompt, Ranking
from instructgpt.errors import DataError
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

    Errors: Waiting while users have given too few.
    """
    wanted = work.config.prompts.wanted
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


def forgotten_users(root: Path) -> set[str]:
    """Who has asked the server to forget them."""
    return {row["forget"] for _, row in _rows(root / FEEDBACK / "deletions.jsonl")}


def remembered(paths: Sequence[Path], kind: type[R], forgotten: set[str]) -> Iterator[R]:
    """The records of several files, without those of users who were forgotten since."""
    for path in paths:
        for number, row in _rows(path):
            if row.get("user") not in forgotten:
                yield _record(kind, row, path, number)


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
    path = work.root / FEEDBACK / "prompts.jsonl"
    forgotten, known = forgotten_users(work.root), _known(work)
    rows: list[Row] = []
    left_out: Counter[str] = Counter()
    for number, data in _rows(path):
        prompt = _record(Prompt, data, path, number)
        if not prompt.meta.get("consent"):
            left_out["without_consent"] += 1
        elif prompt.user in forgotten:
            left_out["taken_back"] += 1
        elif known is not None and prompt.key not in known:
            left_out["not_known"] += 1
        else:
            # when somebody agreed stays in the log: the round's files say the same each time
            meta = {} if known is None else known[prompt.key]
            rows.append(Row(replace(prompt, meta=meta), Origin(str(path), number)))
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
    forgotten = forgotten_users(work.root)
    counts = {}
    for use, count in zip(
        USES, (settings.demonstrate, settings.rank, settings.judge, len(chosen)), strict=True
    ):
        own, chosen = chosen[:count], chosen[count:]
        counts[use] = write_jsonl(folder / f"{use}.jsonl", (p.to_dict() for p in own))
    ppo = [*_of_rounds(work, "ppo_new"), folder / "ppo_new.jsonl"]
    everything = remembered(ppo, Prompt, forgotten)
    counts["ppo"] = write_jsonl(folder / "ppo.jsonl", (p.to_dict() for p in everything))
    rankings = _rankings(work, _keys([*_of_rounds(work, "judge"), folder / "judge.jsonl"]))
    counts["rankings"] = write_jsonl(folder / "rankings.jsonl", (r.to_dict() for r in rankings))
    return counts


def _rankings(work: Work, kept_apart: set[str]) -> Iterator[Ranking]:
    """What earlier rounds learned to rank from, and the blind votes since, each once; nothing on
    prompts that judges compare on.
    """
    forgotten, seen = forgotten_users(work.root), set()
    votes = work.root / FEEDBACK / "rankings.jsonl"
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


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row); nothing where there is no file yet."""
    if path.exists():
        yield from read_jsonl(path)


def _record(kind: Callable[..., Any], row: dict[str, Any], path: Path, number: int) -> Any:
    try:
        return kind.from_dict(row)  # type: ignore[attr-defined]
    except ValueError as error:
        raise DataError(f"{path}:{number}: {error}") from error
