"""The blind votes of a comparison: which of the rows that users gave count, and what they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from instructgpt.data.records import Ranking
from instructgpt.loop.feedback import read_judged, read_votes
from instructgpt.loop.places import FEEDBACK
from instructgpt.loop.state import Comparison


def counted_votes(root: Path, comparison: Comparison) -> list[float]:
    """1 where the candidate was preferred, 0.5 for a tie, 0 otherwise, in order of arrival.

    Of a user the first vote on a prompt counts, and the first `votes_per_user` votes in all: one
    person's votes go together, so that a hundred of them are not a hundred opinions.
    """
    seen: set[tuple[str, str]] = set()
    given: Counter[str] = Counter()
    outcomes = []
    for ranking in read_votes(root / FEEDBACK):
        outcome = _outcome(ranking, comparison)
        user, key = ranking.prompt.user or "", ranking.prompt.key
        if outcome is None or not user or (user, key) in seen:
            continue
        seen.add((user, key))
        given[user] += 1
        if given[user] <= comparison.votes_per_user:
            outcomes.append(outcome)
    return outcomes[: comparison.max_votes]


def judged_outcomes(root: Path, comparison: Comparison) -> list[float]:
    """What the judges said of the candidate, their mean on each prompt; empty before they did."""
    return [
        one.outcome
        for one in read_judged(root, comparison.candidate.round)
        if one.against == comparison.against.name and one.outcome is not None
    ]


def is_between(vote: Ranking, names: Sequence[str]) -> bool:
    """Whether a vote is one between these models."""
    models = vote.meta.get("models")
    return (
        isinstance(models, list)
        and len(models) == len(vote.ranks)
        and sorted(map(str, models)) == sorted(names)
    )


def _outcome(ranking: Ranking, comparison: Comparison) -> float | None:
    """None for a vote between other models."""
    names = [comparison.candidate.name, comparison.against.name]
    if not is_between(ranking, names):
        return None
    models = ranking.meta["models"]
    candidate, against = (ranking.ranks[models.index(name)] for name in names)
    return 0.5 + 0.5 * ((candidate < against) - (candidate > against))
