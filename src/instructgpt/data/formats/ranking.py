"""K-way rankings: a prompt, its `completions`, and `ranks` (equal = tie), `ranking` or `scores`."""

from __future__ import annotations

import math
from typing import Any

from instructgpt.data.formats.base import Format, Row, RowError, has, list_field, prompt_details
from instructgpt.data.formats.conversation import check_candidates, ranks_of_scores
from instructgpt.data.formats.prompt_completion import read_answer, read_turns
from instructgpt.data.records import Prompt, Ranking

_ORDERS = ("ranks", "ranking", "scores")
_USED = ("prompt", "completions", *_ORDERS, "labeler")


def ranks_from_groups(groups: Any, num_completions: int) -> tuple[int, ...]:
    """Ranks from groups of indices from 0, best group first: [[1], [0, 2]] -> (2, 1, 2)."""
    ranks = [0] * num_completions
    if not isinstance(groups, list) or not all(isinstance(group, list) for group in groups):
        raise RowError("'ranking' is not a list of groups of indices, such as [[1], [0, 2]]")
    for rank, group in enumerate(groups, start=1):
        for index in group:
            if type(index) is not int or not 0 <= index < num_completions or ranks[index]:
                raise RowError(f"'ranking' must name each of 0..{num_completions - 1} once")
            ranks[index] = rank
    if 0 in ranks:
        raise RowError(f"'ranking' must name each of 0..{num_completions - 1} once")
    return tuple(ranks)


def _ranks(row: Row, num_completions: int) -> tuple[int, ...]:
    if sum(key in row for key in _ORDERS) != 1:
        raise RowError("needs one of 'ranks', 'ranking' and 'scores'")
    if "ranking" in row:
        return ranks_from_groups(row["ranking"], num_completions)
    if "ranks" in row:
        return tuple(list_field(row, "ranks"))
    scores = list_field(row, "scores")
    if not all(type(score) in (int, float) and math.isfinite(score) for score in scores):
        raise RowError("'scores' is not a list of numbers, higher for better")
    return ranks_of_scores(scores)


def _prompt(row: Row) -> list[Prompt]:
    return [Prompt(read_turns(row), **prompt_details(row, _USED))]


def _ranking(row: Row) -> list[Ranking]:
    answers = [read_answer(value, "completions") for value in list_field(row, "completions")]
    completions = check_candidates(answers)
    ranks = _ranks(row, len(completions))
    try:
        return [Ranking(_prompt(row)[0], completions, ranks, labeler=row.get("labeler"))]
    except ValueError as error:
        raise RowError(str(error)) from error


RANKING = Format(
    name="ranking",
    shape="prompt, completions, ranks (1 = best, equal = tie), ranking ([[1], [0, 2]]) or scores",
    matches=lambda row: has(row, "prompt", str, list) and has(row, "completions", list),
    parsers={Prompt: _prompt, Ranking: _ranking},
)
