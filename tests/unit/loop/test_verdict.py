"""Which votes count, and when a candidate is promoted, dropped, or must wait."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from instructgpt.cli.main import app
from instructgpt.judging.intervals import Interval
from instructgpt.loop.history import add_event
from instructgpt.loop.state import Comparison, Model, read_state
from instructgpt.loop.verdict import decide, standing
from instructgpt.loop.view import comparison_text, interval_text, round_rows, view
from instructgpt.loop.votes import counted_votes

OLD, NEW = Model(0, "a"), Model(1, "b")


def rule(*decided_by: str, max_votes: int = 100, per_user: int = 1) -> Comparison:
    return Comparison(NEW, OLD, decided_by, 0.05, max_votes, per_user)


def around(low: float, high: float, n: int = 10) -> list[Interval]:
    """A path that ends with this interval."""
    return [Interval((low + high) / 2, low, high, n)] * n


@pytest.mark.parametrize(
    ("decided_by", "votes", "judges", "expected"),
    [
        (("votes",), [], [], "open"),
        (("votes",), around(0.51, 0.9), [], "better"),
        (("votes",), around(0.5, 0.9), [], "open"),  # not above one half
        (("votes",), around(0.4, 0.49), [], "worse"),
        (("votes",), around(0.4, 0.9, 100), [], "undecided"),
        (("votes",), around(0.51, 0.9, 100), [], "better"),
        (("votes",), around(0.4, 0.9), around(0.6, 0.9), "open"),  # judges are not asked
        (("judges",), [], around(0.6, 0.9), "better"),
        (("judges",), [], around(0.4, 0.9), "undecided"),  # they have said all that they will
        (("votes", "judges"), around(0.6, 0.9), around(0.6, 0.9), "better"),
        (("votes", "judges"), [], around(0.6, 0.9), "open"),
        (("votes", "judges"), around(0.6, 0.9), around(0.4, 0.9), "undecided"),
        (("votes", "judges"), around(0.4, 0.9), around(0.1, 0.4), "worse"),
    ],
)
def test_only_intervals_beyond_one_half_decide(decided_by, votes, judges, expected) -> None:
    assert decide(rule(*decided_by), {"votes": votes, "judges": judges}) == expected


def test_of_a_user_one_vote_counts(made) -> None:
    made.vote("ann", [1, 2])  # the candidate, first of the two models, wins
    made.vote("ann", [2, 1])  # the same prompt again
    made.vote("ann", [2, 1], text="What?")  # a second vote
    made.vote("bob", [1, 2], models=("round-0", "round-1"))  # shown the other way round: a loss
    made.vote("cat", [1, 1])
    made.vote(None, [1, 2])  # whose is it?
    made.vote("dan", [1, 2], models=("round-2", "round-0"))  # another comparison
    assert counted_votes(made.root, rule("votes")) == [1.0, 0.0, 0.5]
    assert counted_votes(made.root, rule("votes", per_user=2)) == [1.0, 0.0, 0.0, 0.5]
    assert counted_votes(made.root, rule("votes", max_votes=2)) == [1.0, 0.0]


def test_equal_models_are_not_promoted_however_often_one_looks(made) -> None:
    """60 comparisons of a model with itself, looked at after every vote: at most alpha err."""
    rng = np.random.default_rng(0)
    comparison, promoted = rule("votes", max_votes=150), 0
    made.vote("warm-up", [1, 1])
    path = made.root / "feedback" / "rankings.jsonl"
    row = json.loads(path.read_text())
    for _ in range(60):
        rows = [
            {**row, "user": f"user-{n}", "ranks": [[1, 2], [1, 1], [2, 1]][rng.choice(3)]}
            for n in range(150)
        ]
        path.write_text("".join(json.dumps(one) + "\n" for one in rows))
        votes = standing(made.root, comparison).paths["votes"]
        looks = (decide(comparison, {"votes": votes[:n], "judges": []}) for n in range(1, 151))
        promoted += "better" in looks
    assert promoted <= 3  # expected are at most 1.5 of 60


def test_the_view_of_an_open_comparison(made) -> None:
    made.trained(1)
    made.opened(1, "round-0")
    for n, ranks in enumerate([[1, 2], [1, 2], [1, 2], [2, 1]]):
        made.vote(f"user-{n}", ranks)
    seen = view(made.root)
    assert (seen["name"], seen["served"]) == ("helper", "round-0")
    assert seen["comparison"]["decision"] == "open"
    assert seen["comparison"]["paths"]["votes"][-1]["value"] == 0.75
    assert round_rows(seen) == [["1", "opened", "12", "9", "-", "-"]]
    json.dumps(seen, allow_nan=False)


def test_the_view_after_a_promotion_and_its_rollback(made) -> None:
    made.trained(1)
    made.opened(1, "round-0")
    made.ended(1, "promoted")
    assert round_rows(view(made.root))[0][1] == "promoted, served"
    state = read_state(made.root)
    assert state.past[-1].name == "round-1"
    add_event(made.root, "rolled_back", 1, "bob", model="round-0")
    assert round_rows(view(made.root))[0][1] == "promoted, rolled back"
    assert interval_text({"value": 0.625, "low": 0.5, "high": 0.75, "n": 8}) == (
        "0.62 [0.50, 0.75] of 8"
    )


def test_status_says_what_is_compared_and_how_it_stands(made) -> None:
    """10 wins of 10."""
    made.trained(1)
    assert comparison_text(view(made.root)) is None
    made.opened(1, "round-0")
    assert comparison_text(view(made.root)) == (
        "round-1 is compared with round-0, by votes: votes -, judges -"
    )
    for n in range(10):
        made.vote(f"user-{n}", [1, 2])
    said = comparison_text(view(made.root))
    assert said is not None
    assert "votes 1.00 [0." in said
    assert "1.00] of 10, judges -" in said
    shown = CliRunner().invoke(app, ["loop", "status", str(made.root)])
    assert said in " ".join(shown.output.split())
