"""All filters in order: evaluation sets, personal data, repetitions of three kinds, cap per user.

The order of the paper (3.2, A.2) is repetitions, cap, split, personal data. Personal data comes
before them here, so that held-out prompts have none either and masked twins are found; the cap
comes last, so that what goes for another reason does not count against a user.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from instructgpt.data.digests import first_of_equals
from instructgpt.data.hygiene.cleaned import KINDS, Cleaned, Evidence, personal_evidence
from instructgpt.data.hygiene.contamination import overlaps
from instructgpt.data.hygiene.exact_duplicates import exact_duplicates
from instructgpt.data.hygiene.near_duplicates import near_duplicates
from instructgpt.data.hygiene.personal_data import mask
from instructgpt.data.hygiene.prefix_duplicates import prefix_duplicates
from instructgpt.data.hygiene.removals import (
    BEYOND_USER_CAP,
    CONTAMINATED,
    EXACT_DUPLICATE,
    NEAR_DUPLICATE,
    PERSONAL_DATA,
    PREFIX_DUPLICATE,
    Row,
    place,
)
from instructgpt.data.hygiene.user_caps import beyond_cap
from instructgpt.data.hygiene.wording import conversation
from instructgpt.data.readers import Loaded
from instructgpt.data.records import Prompt, Record
from instructgpt.data.splits import user_of
from instructgpt.data.spool import Chosen, Mapped
from instructgpt.errors import DataError

_DIGITS = 3

Comparison = Callable[[Sequence[str]], Iterator[tuple[int, int, dict[str, Any]]]]
"""Texts -> (index, index of the earlier one that it repeats, how) of those that are to go."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Which filters there are and how strict; `None` or "keep" switches one off.

    The fields are those of the `hygiene` section of stage `data`, which documents them.
    """

    prefix_words: int | None = 50
    similarity: float | None = 0.8
    personal_data: Literal["drop", "mask", "keep"] = "drop"
    user_cap: int | None = 200
    user_key: str = "user"
    evaluation_words: int = 13
    seed: int = 0


def clean(
    rows: Sequence[Row],
    rules: Rules,
    evaluation: Loaded[Prompt] | None = None,
    folder: Path | None = None,
) -> Cleaned:
    """Take out what `rules` refuse, and what overlaps the prompts of `evaluation`.

    Repetitions are looked for within each kind: a ranking of a demonstrated prompt is none.
    `folder` is for temporary files, as large as the rows. Errors: DataError when no row has the
    `user_key` that the rules name.
    """
    cleaned = Cleaned(rows, folder)
    _check_user_key(cleaned.records, rules)
    if evaluation is not None:
        cleaned.remove(CONTAMINATED, _contaminated(cleaned, evaluation, rules))
    if rules.personal_data == "drop":
        personal = ((i, personal_evidence(record)) for i, record in enumerate(cleaned.records))
        cleaned.remove(PERSONAL_DATA, ((i, matches) for i, matches in personal if matches))
    elif rules.personal_data == "mask":
        cleaned.mask()
    if rules.similarity is not None:
        cleaned.remove(EXACT_DUPLICATE, _repeated(cleaned))
    if rules.prefix_words is not None:
        cleaned.remove(PREFIX_DUPLICATE, _by_prompt(cleaned, _prefixes(rules.prefix_words)))
    if rules.similarity is not None:
        found = _by_prompt(cleaned, _similar(rules.similarity, folder))
        cleaned.remove(NEAR_DUPLICATE, found)
    if rules.user_cap is not None:
        cleaned.remove(BEYOND_USER_CAP, _over_cap(cleaned, rules.user_cap, rules))
    return cleaned


def _contaminated(cleaned: Cleaned, evaluation: Loaded[Prompt], rules: Rules) -> Iterator[Evidence]:
    threshold = rules.similarity if rules.similarity is not None else 1.0
    asked, ngram = evaluation.records, rules.evaluation_words
    for one in overlaps(cleaned.records, asked, threshold, ngram, cleaned.folder):
        how: dict[str, Any] = {"other": place(evaluation.origins[one.other])}
        if one.similarity is not None:
            how["similarity"] = round(one.similarity, _DIGITS)
        elif one.shared is not None:
            how["shared_words"] = mask(one.shared)
        yield one.at, how


def _repeated(cleaned: Cleaned) -> Iterator[Evidence]:
    rows = cleaned.rows
    for index, other in exact_duplicates(cleaned.records):
        yield index, {"other": place(rows[other].origin)}


def _by_prompt(cleaned: Cleaned, compare: Comparison) -> Iterator[Evidence]:
    """Compare the distinct prompts of each kind; all rows of a prompt go or stay together."""
    rows = cleaned.rows
    first_of_prompt = np.empty(len(rows), np.int64)
    found: dict[int, tuple[int, dict[str, Any]]] = {}
    for kind in range(len(KINDS)):
        members = np.flatnonzero(cleaned.kinds == kind)
        first_of_prompt[members] = members[first_of_equals(cleaned.identities[members])]
        prompts = np.unique(first_of_prompt[members])
        texts = Mapped(lambda row: conversation(row.record), Chosen(rows, prompts))
        for index, other, how in compare(texts):
            found[int(prompts[index])] = int(prompts[other]), how
    for index, first in enumerate(map(int, first_of_prompt)):
        if first in found:
            other, how = found[first]
            yield index, {"other": place(rows[other].origin), **how}


def _prefixes(length: int) -> Comparison:
    def compare(texts: Sequence[str]) -> Iterator[tuple[int, int, dict[str, Any]]]:
        for one in prefix_duplicates(texts, length):
            yield one.at, one.other, {"shared_words": one.length}

    return compare


def _similar(threshold: float, folder: Path | None) -> Comparison:
    def compare(texts: Sequence[str]) -> Iterator[tuple[int, int, dict[str, Any]]]:
        for one in near_duplicates(texts, threshold, folder):
            yield one.at, one.other, {"similarity": round(one.similarity, _DIGITS)}

    return compare


def _over_cap(cleaned: Cleaned, cap: int, rules: Rules) -> Iterator[Evidence]:
    known: dict[str | None, str | None] = {}
    users = [known.setdefault(user, user) for user in _users(cleaned.records, rules.user_key)]
    for one in beyond_cap(cleaned.identities, users, cap, rules.seed):
        yield one.at, {"user": one.user, "prompts": one.prompts, "cap": cap}


def _users(records: Iterable[Record], key: str) -> Iterator[str | None]:
    return (user_of(record, key) for record in records)


def _check_user_key(records: Iterable[Record], rules: Rules) -> None:
    key = rules.user_key
    if key != "user" and not any(_users(records, key)):
        raise DataError(
            f"no record has '{key}' in its meta to be grouped by; name the key that your rows hold "
            "as user_key, or leave it at user"
        )
