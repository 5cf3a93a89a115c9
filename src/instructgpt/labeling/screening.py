"""The screening test of the paper (appendix B.1): agreement with expected answers, soft cut-offs.

Who reaches every cut-off is admitted at once; about everybody else the lead decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from instructgpt.judging.agreement import pairwise_agreement
from instructgpt.storage.label_access import Person, record_event
from instructgpt.storage.label_desk import LabelDesk
from instructgpt.storage.label_review import LabelReview
from instructgpt.storage.label_store import LabelStore

AGREEMENT_CUTOFF = 0.75
SCORE_CUTOFF = 6.0


@dataclass(frozen=True, slots=True)
class Screening:
    """How one labeler did: tasks done of all; agreement with the expected rankings and flags
    (0 to 1); the mean score (1 to 7) that the lead gave their demonstrations. None: not measured.
    """

    done: int
    tasks: int
    rankings: float | None
    flags: float | None
    score: float | None
    unscored: int

    @property
    def passed(self) -> bool:
        """Whether the test is complete and every measured cut-off reached."""
        measured = (
            (self.rankings, AGREEMENT_CUTOFF),
            (self.flags, AGREEMENT_CUTOFF),
            (self.score, SCORE_CUTOFF),
        )
        complete = self.done == self.tasks > 0 and self.unscored == 0
        return complete and all(v is None or v >= cutoff for v, cutoff in measured)


def screening_of(store: LabelStore, name: str) -> Screening:
    """What labeler `name` has done of the test so far."""
    review = LabelReview(store)
    tests = {task["id"]: task["gold"] for task in review.tasks(screening=True)}
    ranked = [row for row in store.rankings(screening=True) if row["labeler"] == name]
    written = [row for row in review.demonstrations(screening=True) if row["labeler"] == name]
    golds = [tests[row["meta"]["task"]] for row in ranked]
    pairs = [(row["ranks"], gold["ranks"]) for row, gold in zip(ranked, golds, strict=True)]
    rankings = pairwise_agreement(pairs).interval
    flags = [
        right
        for row, gold in zip(ranked, golds, strict=True)
        for flag, expected in gold["flags"].items()
        for right in _flagged_alike(row["meta"]["flags"].get(flag), expected)
    ]
    scores = [row["meta"]["score"] for row in written]
    known = [score for score in scores if score is not None]
    return Screening(
        done=len(ranked) + len(written),
        tasks=len(tests),
        rankings=None if rankings is None else rankings.value,
        flags=sum(flags) / len(flags) if flags else None,
        score=sum(known) / len(known) if known else None,
        unscored=len(scores) - len(known),
    )


def _flagged_alike(given: Any, expected: Any) -> list[bool]:
    """Of the instruction, or of each answer where that is expected; not answered counts as no."""
    if not isinstance(expected, list):
        return [bool(given) == bool(expected)]
    answers = given if isinstance(given, list) else [None] * len(expected)
    return [
        bool(answer) == wanted
        for answer, wanted in zip(answers, expected, strict=True)
        if wanted is not None
    ]


def admit_who_passes(desk: LabelDesk, person: Person) -> None:
    """Admit a labeler who has just completed the test above every cut-off."""
    if desk.may_work(person) or desk.verdict(person.id) is not None:
        return
    if screening_of(desk.store, person.name).passed:
        record_event(desk.store, "admitted", "screening test", person.id)
