"""Rows that are none are named, by everybody who reads them."""

from __future__ import annotations

import json

import pytest

from instructgpt.errors import DataError
from instructgpt.loop.feedback import Judged, Thumb, forgotten_users, read_judged, read_thumbs
from instructgpt.loop.places import FEEDBACK, judged_file
from instructgpt.loop.view import view
from instructgpt.serving.feedback import FeedbackLog

ASKED = [{"role": "user", "content": "Who?"}]
THUMB = {"prompt": ASKED, "user": "u", "completion": "Me.", "label": True, "meta": {"model": "m"}}


def write(folder, name, row):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(row) + "\n")


def test_good_rows_are_records(made) -> None:
    folder = made.root / FEEDBACK
    write(folder, "thumbs.jsonl", THUMB)
    write(folder, "deletions.jsonl", {"forget": "ann", "at": "2026-01-01"})
    write(judged_file(made.root, 1).parent, "judged.jsonl", {"against": "round-0", "outcome": 0.5})
    (thumb,) = read_thumbs(folder)
    assert thumb == Thumb(thumb.prompt, "m", True)
    assert (thumb.prompt.text, thumb.prompt.user) == ("Who?", "u")
    assert forgotten_users(folder) == {"ann"}
    assert list(read_judged(made.root, 1)) == [Judged("round-0", 0.5)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({key: THUMB[key] for key in THUMB if key != "meta"}, "there is no 'model'"),
        ({key: THUMB[key] for key in THUMB if key != "label"}, "there is no 'label'"),
        ({**THUMB, "label": "yes"}, "'label' must not be 'yes'"),
        ([1], "there is no 'label'"),
    ],
)
def test_a_broken_thumb_is_named_by_page_and_server(made, row, message) -> None:
    """The view ended in a KeyError; a server that started showed another."""
    write(made.root / FEEDBACK, "thumbs.jsonl", row)
    for read in (lambda: view(made.root), lambda: FeedbackLog(made.root / FEEDBACK)):
        with pytest.raises(DataError, match=f"thumbs.jsonl:1: {message}"):
            read()


@pytest.mark.parametrize("row", [{}, [1], {"forget": 5}])
def test_a_broken_deletion_is_named(made, row) -> None:
    write(made.root / FEEDBACK, "deletions.jsonl", row)
    with pytest.raises(DataError, match=r"deletions.jsonl:1: .*'forget'"):
        forgotten_users(made.root / FEEDBACK)


@pytest.mark.parametrize("row", [{}, {"against": "round-0"}, {"against": "round-0", "outcome": 7}])
def test_a_broken_verdict_is_named(made, row) -> None:
    made.trained(1)
    made.opened(1, "round-0")
    write(judged_file(made.root, 1).parent, "judged.jsonl", row)
    with pytest.raises(DataError, match=r"judged.jsonl:1: .*'outcome'"):
        view(made.root)


def test_a_broken_vote_is_named(made) -> None:
    made.trained(1)
    made.opened(1, "round-0")
    write(made.root / FEEDBACK, "rankings.jsonl", [1])
    with pytest.raises(DataError, match=r"rankings.jsonl:1: a ranking must be an object"):
        view(made.root)


def test_a_vote_that_names_fewer_models_than_it_ranks_is_none(made) -> None:
    made.trained(1)
    made.opened(1, "round-0")
    made.vote("ann", [1, 2])
    path = made.root / FEEDBACK / "rankings.jsonl"
    row = json.loads(path.read_text())
    path.write_text(json.dumps({**row, "completions": ["a"] * 3, "ranks": [1, 2, 3]}) + "\n")
    assert view(made.root)["comparison"]["paths"]["votes"] == []
