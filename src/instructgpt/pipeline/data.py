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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instructgpt.config.data import DataConfig
from instructgpt.data.digests import Digests, first_of_equals
from instructgpt.data.hygiene.cleaned import KINDS, Cleaned
from instructgpt.data.hygiene.removals import Row
from instructgpt.data.jsonl import write_jsonl
from instructgpt.data.readers import Problem, Reading
from instructgpt.data.records import Demonstration, Document, Prompt, Ranking, Record
from instructgpt.data.splits import Keys, held_out, prompt_of
from instructgpt.data.spool import Spool
from instructgpt.errors import DataError
from instructgpt.pipeline.hygiene import clean_rows, duplicate_clusters, read_rows, write_removals
from instructgpt.storage.run_dir import RunDir

_NAMES: dict[type, tuple[str, str]] = {
    Document: ("documents", "documents_heldout"),
    Demonstration: ("demonstrations", "demonstrations_valid"),
    Ranking: ("rankings", "rankings_heldout"),
    Prompt: ("prompts_train", "prompts_heldout"),
}

Part = tuple[type, Sequence[int], Sequence[int]]
"""A kind, and the indices of its records in training and held out."""


def run(config: DataConfig, run: RunDir) -> dict[str, Any]:
    """Read, clean, split and write; the summary counts rows and names what was left out.

    Records wait in a temporary file of the run's directory: what is in memory of each is a few
    numbers and hashes.
    """
    rows: Spool[Row] = Spool(folder=run.root)
    read = _read_all(config, rows)
    cleaned, removals = clean_rows(rows, config.hygiene, config.seed, run.root)
    _check_something_is_left(read.counts, cleaned)
    # One split over all kinds: a prompt whose ranking is held out is no demonstration either.
    parts = _by_kind(cleaned, _split(cleaned, config), bool(read.counts[Prompt]))
    counts = _write(cleaned.records, parts, run)
    _write_problems(read.problems, run)
    write_removals(cleaned, run.path("removals.jsonl"))
    return {
        **counts,
        "problems": len(read.problems),
        "removed": len(rows) - len(cleaned.rows),
        "removals": removals,
        "formats": sorted(read.formats),
    }


@dataclass
class _Read:
    """What the readers found beside the records."""

    counts: dict[type, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    formats: set[str] = field(default_factory=set)


def _read_all(config: DataConfig, rows: Spool[Row]) -> _Read:
    """All files of all kinds, one after the other, behind `rows`."""
    read = _Read()
    given = (config.documents, config.demonstrations, config.rankings, config.prompts)
    for kind, paths in zip(_NAMES, given, strict=True):
        before = len(rows)
        formats: dict[str, None] = {}
        for path in paths:
            reading = Reading(
                path,
                kind,
                format=config.format,
                on_problem=config.on_problem,
                columns=config.columns,
            )
            read_rows(reading, rows)
            read.problems += reading.problems
            formats[reading.format] = None
        read.counts[kind] = len(rows) - before
        if formats:
            read.formats.add("+".join(formats))
    return read


def _split(cleaned: Cleaned, config: DataConfig) -> NDArray[np.bool_]:
    """What hygiene counts as one prompt goes to one side, also where it was told to keep it."""
    return held_out(
        Keys.of(cleaned.records, config.hygiene.user_key),
        config.valid_fraction,
        config.seed,
        config.split_by,
        clusters=duplicate_clusters(cleaned, config.hygiene),
    )


def _check_something_is_left(read: Mapping[type, int], cleaned: Cleaned) -> None:
    left = {KINDS[number] for number in np.unique(cleaned.kinds)}
    for kind, count in read.items():
        if count and kind not in left:
            raise DataError(
                f"{_NAMES[kind][0]}: hygiene removes all {count} records; "
                "look at them with `instructgpt data clean`, then loosen the hygiene settings"
            )


def _by_kind(
    cleaned: Cleaned, is_held_out: NDArray[np.bool_], with_given_prompts: bool
) -> list[Part]:
    """A part per kind that has records; prompts are the given ones or else everybody's."""
    parts: list[Part] = []
    for kind in (Document, Demonstration, Ranking):
        of_kind = cleaned.kinds == KINDS.index(kind)
        if of_kind.any():
            sides = np.flatnonzero(of_kind & ~is_held_out), np.flatnonzero(of_kind & is_held_out)
            parts.append(_both_sides(kind, sides, _NAMES[kind][0]))
    kinds = (Prompt,) if with_given_prompts else (Prompt, Demonstration, Ranking)
    chosen = np.isin(cleaned.kinds, [KINDS.index(kind) for kind in kinds])
    if chosen.any():
        prompts = [
            _last_of_each(cleaned.identities, np.flatnonzero(chosen & side))
            for side in (~is_held_out, is_held_out)
        ]
        parts.append(_both_sides(Prompt, prompts, "prompts"))
    return parts


def _last_of_each(identities: Digests, chosen: NDArray[np.int64]) -> list[int]:
    """Of the chosen records the last one of each prompt, in the order of the prompts' first ones.

    The last, because what a prompt holds beside its text may differ.
    """
    first = chosen[first_of_equals(identities[chosen])]
    return list(dict(zip(first.tolist(), chosen.tolist(), strict=True)).values())


def _both_sides(kind: type, sides: Sequence[Sequence[int]], name: str) -> Part:
    train, heldout = sides
    if not len(train) or not len(heldout):
        empty = "held-out" if len(train) else "training"
        raise DataError(
            f"{name}: the split leaves the {empty} side empty ({len(train)} and "
            f"{len(heldout)}); use more data, another valid_fraction or another seed"
        )
    return kind, train, heldout


def _write(records: Sequence[Record], parts: Sequence[Part], run: RunDir) -> dict[str, int]:
    counts: dict[str, int] = {}
    for kind, *sides in parts:
        for name, side in zip(_NAMES[kind], sides, strict=True):
            chosen = (records[index] for index in side)
            made = map(prompt_of, chosen) if kind is Prompt else chosen
            path = run.path(f"{name}.jsonl")
            counts[name] = write_jsonl(path, (record.to_dict() for record in made))
    return counts


def _write_problems(problems: Sequence[Problem], run: RunDir) -> None:
    write_jsonl(run.path("problems.jsonl"), (problem._asdict() for problem in problems))
