"""The blind votes of a comparison: which of the rows that users gave count, and what they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from instructgpt.data.jsonl import read_jsonl
from instructgpt.data.records import Ranking
from instructgpt.errors import DataError
from instructgpt.loop.places import FEEDBACK, judged_file
from instructgpt.loop.state import Comparison


def counted_votes(root: Path, comparison: Comparison) -> list[float]:
    """1 where the candidate was preferred, 0.5 for a tie, 0 otherwise, in order of arrival.

    Of a user the first vote on a prompt counts, and the first `votes_per_user` votes in all: one
    person's votes go together, so that a hundred of them are not a hundred opinions.
    """
    seen: set[tuple[str, str]] = set()
    given: Counter[str] = Counter()
    outcomes = []
    for ranking in _rankings(root / FEEDBACK / "rankings.jsonl"):
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
    path = judged_file(root, comparison.candidate.round)
    if not path.exists():
        return []
    rows = [row for _, row in read_jsonl(path) if row["against"] == comparison.against.name]
    return [row["outcome"] for row in rows if row["outcome"] is not None]


def _outcome(ranking: Ranking, comparison: Comparison) -> float | None:
    """None for a vote between other models."""
    models = ranking.meta.get("models")
    names = [comparison.candidate.name, comparison.against.name]
    if not isinstance(models, list) or sorted(map(str, models)) != sorted(names):
        return None
    candidate, against = (ranking.ranks[models.index(name)] for name in names)
    return 0.5 + 0.5 * ((candidate < against) - (candidate > against))


def _rankings(path: Path) -> Iterator[Ranking]:
    if not path.exists():
        return
    for line, row in read_jsonl(path):
        try:
            yield Ranking.from_dict(row)
        except ValueError as error:
            raise DataError(f"{path}:{line}: {error}") from error
