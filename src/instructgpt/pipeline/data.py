"""Stage `data`: the user's files as records, split so that nothing held out is trained on.

Writes, for the kinds that were given (NAME.jsonl, and its held-out part):

    documents    documents_heldout
    demonstrations    demonstrations_valid
    rankings    rankings_heldout
    prompts_train    prompts_heldout
    problems     every row that could not be read: file, row, reason
    removals     every record that hygiene took out: file, row, reason, evidence, record
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from instructgpt.config.data import DataConfig
from instructgpt.data.hygiene.removals import counts_by_file
from instructgpt.data.jsonl import write_jsonl
from instructgpt.data.readers import (
    Loaded,
    Problem,
    load_demonstrations,
    load_documents,
    load_prompts,
    load_rankings,
)
from instructgpt.data.records import Demonstration, Document, Prompt, Ranking, Record
from instructgpt.data.splits import Split, identity, prompt_of, split
from instructgpt.errors import DataError
from instructgpt.pipeline.hygiene import clean_rows, duplicate_clusters, rows_of, write_removals
from instructgpt.storage.run_dir import RunDir

R = TypeVar("R", Document, Prompt, Demonstration, Ranking)

_NAMES: dict[type, tuple[str, str]] = {
    Document: ("documents", "documents_heldout"),
    Demonstration: ("demonstrations", "demonstrations_valid"),
    Ranking: ("rankings", "rankings_heldout"),
    Prompt: ("prompts_train", "prompts_heldout"),
}


def run(config: DataConfig, run: RunDir) -> dict[str, Any]:
    """Read, clean, split and write; the summary counts rows and names what was left out."""
    loaded = {
        Document: _read(load_documents, config.documents, config),
        Demonstration: _read(load_demonstrations, config.demonstrations, config),
        Ranking: _read(load_rankings, config.rankings, config),
        Prompt: _read(load_prompts, config.prompts, config),
    }
    rows = [row for one in loaded.values() for row in rows_of(one)]
    cleaned = clean_rows(rows, config.hygiene, config.seed)
    left = [row.record for row in cleaned.rows]
    _check_something_is_left(loaded, left)
    # One split over all kinds: a prompt whose ranking is held out is no demonstration either.
    parts = _by_kind(_split(left, config), with_given_prompts=bool(loaded[Prompt].records))
    counts = _write(parts, run)
    problems = [problem for one in loaded.values() for problem in one.problems]
    _write_problems(problems, run)
    write_removals(cleaned, run.path("removals.jsonl"))
    return {
        **counts,
        "problems": len(problems),
        "removed": len(rows) - len(left),
        "removals": counts_by_file(rows, cleaned.removals),
        "formats": sorted({one.format for one in loaded.values() if one.format}),
    }


def _split(records: Sequence[Any], config: DataConfig) -> Split[Any]:
    """What hygiene counts as one prompt goes to one side, also where it was told to keep it."""
    return split(
        records,
        config.valid_fraction,
        config.seed,
        config.split_by,
        user_key=config.hygiene.user_key,
        clusters=duplicate_clusters(records, config.hygiene),
    )


def _check_something_is_left(loaded: Mapping[type, Loaded[Any]], left: Sequence[Record]) -> None:
    for kind, one in loaded.items():
        if one.records and not any(isinstance(record, kind) for record in left):
            raise DataError(
                f"{_NAMES[kind][0]}: hygiene removes all {len(one.records)} records; "
                "look at them with `instructgpt data clean`, then loosen the hygiene settings"
            )


def _read(load: Callable[..., Loaded[R]], paths: Sequence[str], config: DataConfig) -> Loaded[R]:
    """All files of one kind as one; a row's place in it follows the order of `paths`."""
    all_loaded: Loaded[R] = Loaded([], "")
    formats: dict[str, None] = {}
    for path in paths:
        loaded = load(
            path, format=config.format, on_problem=config.on_problem, columns=config.columns
        )
        all_loaded.records += loaded.records
        all_loaded.origins += loaded.origins
        all_loaded.problems += loaded.problems
        formats[loaded.format] = None
    all_loaded.format = "+".join(formats)
    return all_loaded


def _by_kind(sides: Split[Any], *, with_given_prompts: bool) -> list[Split[Any]]:
    """One split per kind that has records; prompts are the given ones or else everybody's."""
    parts: list[Split[Any]] = []
    for kind in (Document, Demonstration, Ranking):
        part: Split[Any] = Split(*([one for one in side if type(one) is kind] for side in sides))
        if part.train or part.heldout:
            parts.append(_both_sides(part, _NAMES[kind][0]))
    prompts: Split[Any] = Split(*(_unique_prompts(side, with_given_prompts) for side in sides))
    if prompts.train or prompts.heldout:
        parts.append(_both_sides(prompts, "prompts"))
    return parts


def _unique_prompts(records: Sequence[Any], only_given: bool) -> list[Prompt]:
    kinds = (Prompt,) if only_given else (Prompt, Demonstration, Ranking)
    chosen = [one for one in records if isinstance(one, kinds)]
    return list({identity(one): prompt_of(one) for one in chosen}.values())


def _both_sides(part: Split[Any], name: str) -> Split[Any]:
    if not part.train or not part.heldout:
        empty = "held-out" if part.train else "training"
        raise DataError(
            f"{name}: the split leaves the {empty} side empty ({len(part.train)} and "
            f"{len(part.heldout)}); use more data, another valid_fraction or another seed"
        )
    return part


def _write(parts: Sequence[Split[Any]], run: RunDir) -> dict[str, int]:
    counts: dict[str, int] = {}
    for part in parts:
        for name, side in zip(_NAMES[type(part.train[0])], part, strict=True):
            path = run.path(f"{name}.jsonl")
            counts[name] = write_jsonl(path, (record.to_dict() for record in side))
    return counts


def _write_problems(problems: Sequence[Problem], run: RunDir) -> None:
    write_jsonl(run.path("problems.jsonl"), (problem._asdict() for problem in problems))
