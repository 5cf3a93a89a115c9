"""UltraFeedback: completions that were rated in several aspects, such as helpfulness and honesty.

The order is that of the mean rating over the aspects. `overall_score` is not used: hundreds of
poor completions carry a 10 there (argilla/ultrafeedback-binarized-preferences).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from instructgpt.data.formats.base import (
    Format,
    Row,
    RowError,
    filled_field,
    has,
    list_field,
    prompt_details,
    text_field,
)
from instructgpt.data.formats.conversation import check_candidates, ranks_of_scores
from instructgpt.data.records import Prompt, Ranking

_NOT_RATED = (None, "N/A", "")


def _prompt(row: Row) -> list[Prompt]:
    details = prompt_details(row, ("instruction", "completions"))
    return [Prompt.from_text(filled_field(row, "instruction"), **details)]


def _ranking(row: Row) -> list[Ranking]:
    completions = list_field(row, "completions")
    if not all(isinstance(one, dict) for one in completions):
        raise RowError("'completions' is not a list of objects")
    answers = check_candidates([text_field(one, "response") for one in completions])
    ranks = ranks_of_scores(mean_ratings([_ratings(one) for one in completions]))
    return [Ranking(_prompt(row)[0], answers, ranks)]


def mean_ratings(ratings: Sequence[dict[str, Fraction]]) -> list[Fraction]:
    """Each completion's mean over the aspects in which all of them were rated."""
    shared = [aspect for aspect in ratings[0] if all(aspect in rated for rated in ratings)]
    if not shared:
        raise RowError("no aspect in which every completion was rated")
    return [sum(rated[aspect] for aspect in shared) / Fraction(len(shared)) for rated in ratings]


def _ratings(completion: Row) -> dict[str, Fraction]:
    """Aspect -> rating, without the aspects in which the completion was not rated."""
    annotations = completion.get("annotations")
    if not isinstance(annotations, dict):
        raise RowError("a completion has no 'annotations' with ratings by aspect")
    ratings = {}
    for aspect, annotation in annotations.items():
        rating = annotation.get("Rating") if isinstance(annotation, dict) else annotation
        if rating not in _NOT_RATED:
            ratings[aspect] = _number(rating, aspect)
    return ratings


def _number(rating: Any, aspect: str) -> Fraction:
    try:
        return Fraction(str(rating))
    except (ValueError, ZeroDivisionError) as error:
        raise RowError(f"the rating of {aspect!r} is {rating!r}, not a number") from error


def _matches(row: Row) -> bool:
    if not (has(row, "instruction", str) and has(row, "completions", list)):
        return False
    return all(isinstance(one, dict) and "response" in one for one in row["completions"])


ULTRAFEEDBACK = Format(
    name="ultrafeedback",
    shape="instruction, completions: [{response, annotations: {ASPECT: {Rating}}}, ...]",
    matches=_matches,
    parsers={Prompt: _prompt, Ranking: _ranking},
)
