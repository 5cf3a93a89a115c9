"""All filters in order: evaluation sets, personal data, repetitions of three kinds, cap per user.

The order of the paper (3.2, A.2) is repetitions, cap, split, personal data. Personal data comes
before them here, so that held-out prompts have none either and masked twins are found; the cap
comes last, so that what goes for another reason does not count against a user.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from instructgpt.data.hygiene.contamination import overlaps
from instructgpt.data.hygiene.exact_duplicates import exact_duplicates
from instructgpt.data.hygiene.near_duplicates import near_duplicates
from instructgpt.data.hygiene.personal_data import mask, mask_record, obscure, personal_data_in
from instructgpt.data.hygiene.prefix_duplicates import prefix_duplicates
from instructgpt.data.hygiene.removals import (
    BEYOND_USER_CAP,
    CONTAMINATED,
    EXACT_DUPLICATE,
    MASKED,
    NEAR_DUPLICATE,
    PERSONAL_DATA,
    PREFIX_DUPLICATE,
    Removal,
    Row,
    place,
)
from instructgpt.data.hygiene.user_caps import beyond_cap
from instructgpt.data.hygiene.wording import conversation
from instructgpt.data.readers import Loaded
from instructgpt.data.records import Demonstration, Document, Prompt, Ranking
from instructgpt.data.splits import identity, user_of
from instructgpt.errors import DataError

_KINDS = (Document, Prompt, Demonstration, Ranking)
_DIGITS = 3

Evidence = tuple[int, dict[str, Any]]


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


@dataclass(slots=True)
class Cleaned:
    """The rows that stay, in their order, and every removal."""

    rows: list[Row]
    removals: list[Removal] = field(default_factory=list)


def clean(rows: Sequence[Row], rules: Rules, evaluation: Loaded[Prompt] | None = None) -> Cleaned:
    """Take out what `rules` refuse, and what overlaps the prompts of `evaluation`.

    Repetitions are looked for within each kind: a ranking of a demonstrated prompt is none. Errors:
    DataError when no row has the `user_key` that the rules name.
    """
    cleaned = Cleaned(list(rows))
    _check_user_key(rows, rules)
    if evaluation is not None:
        _remove(cleaned, CONTAMINATED, _contaminated(cleaned.rows, evaluation, rules))
    if rules.personal_data == "drop":
        _remove(cleaned, PERSONAL_DATA, _personal(cleaned.rows))
    elif rules.personal_data == "mask":
        _mask(cleaned)
    if rules.similarity is not None:
        _remove(cleaned, EXACT_DUPLICATE, _repeated(cleaned.rows))
    if rules.prefix_words is not None:
        length = rules.prefix_words
        found = _by_prompt(cleaned.rows, lambda texts: _prefixes(texts, length))
        _remove(cleaned, PREFIX_DUPLICATE, found)
    if rules.similarity is not None:
        threshold = rules.similarity
        found = _by_prompt(cleaned.rows, lambda texts: _similar(texts, threshold))
        _remove(cleaned, NEAR_DUPLICATE, found)
    if rules.user_cap is not None:
        _remove(cleaned, BEYOND_USER_CAP, _over_cap(cleaned.rows, rules.user_cap, rules))
    return cleaned


def _remove(cleaned: Cleaned, reason: str, found: list[Evidence]) -> None:
    gone = dict(found)
    cleaned.removals += [Removal(cleaned.rows[i], reason, gone[i]) for i in sorted(gone)]
    cleaned.rows = [row for i, row in enumerate(cleaned.rows) if i not in gone]


def _mask(cleaned: Cleaned) -> None:
    for index, evidence in _personal(cleaned.rows):
        row = cleaned.rows[index]
        cleaned.removals.append(Removal(row, MASKED, evidence))
        cleaned.rows[index] = replace(row, record=mask_record(row.record))


def _contaminated(rows: list[Row], evaluation: Loaded[Prompt], rules: Rules) -> list[Evidence]:
    records = [row.record for row in rows]
    threshold = rules.similarity if rules.similarity is not None else 1.0
    found: list[Evidence] = []
    for one in overlaps(records, evaluation.records, threshold, rules.evaluation_words):
        how: dict[str, Any] = {"other": place(evaluation.origins[one.other])}
        if one.similarity is not None:
            how["similarity"] = round(one.similarity, _DIGITS)
        elif one.shared is not None:
            how["shared_words"] = mask(one.shared)
        found.append((one.at, how))
    return found


def _personal(rows: list[Row]) -> list[Evidence]:
    found: list[Evidence] = []
    for index, row in enumerate(rows):
        matches = personal_data_in(row.record)
        if matches:
            shown = [{"kind": kind, "text": obscure(text)} for kind, text in matches]
            found.append((index, {"matches": shown}))
    return found


def _repeated(rows: list[Row]) -> list[Evidence]:
    repeated = exact_duplicates([row.record for row in rows])
    return [(index, {"other": place(rows[other].origin)}) for index, other in repeated]


def _by_prompt(
    rows: list[Row], compare: Callable[[list[str]], Iterator[tuple[int, int, dict[str, Any]]]]
) -> list[Evidence]:
    """Compare the distinct prompts of each kind; all rows of a prompt go or stay together."""
    found: list[Evidence] = []
    for kind in _KINDS:
        prompts: dict[str, list[int]] = {}
        for index, row in enumerate(rows):
            if type(row.record) is kind:
                prompts.setdefault(identity(row.record), []).append(index)
        members = list(prompts.values())
        texts = [conversation(rows[indices[0]].record) for indices in members]
        for index, other, how in compare(texts):
            evidence = {"other": place(rows[members[other][0]].origin), **how}
            found += [(i, evidence) for i in members[index]]
    return found


def _prefixes(texts: list[str], length: int) -> Iterator[tuple[int, int, dict[str, Any]]]:
    for one in prefix_duplicates(texts, length):
        yield one.at, one.other, {"shared_words": one.length}


def _similar(texts: list[str], threshold: float) -> Iterator[tuple[int, int, dict[str, Any]]]:
    for one in near_duplicates(texts, threshold):
        yield one.at, one.other, {"similarity": round(one.similarity, _DIGITS)}


def _over_cap(rows: list[Row], cap: int, rules: Rules) -> list[Evidence]:
    records = [row.record for row in rows]
    users = [user_of(record, rules.user_key) for record in records]
    return [
        (one.at, {"user": one.user, "prompts": one.prompts, "cap": cap})
        for one in beyond_cap(records, users, cap, rules.seed)
    ]


def _check_user_key(rows: Sequence[Row], rules: Rules) -> None:
    key = rules.user_key
    if key != "user" and not any(user_of(row.record, key) for row in rows):
        raise DataError(
            f"no record has '{key}' in its meta to be grouped by; name the key that your rows hold "
            "as user_key, or leave it at user"
        )
