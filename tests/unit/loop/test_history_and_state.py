"""What is served follows from the history alone, whatever happened and in which order."""

from __future__ import annotations

import json
import threading

import pytest

from instructgpt.errors import DataError, RunDirError
from instructgpt.loop.history import HISTORY, add_event, deciding, read_history
from instructgpt.loop.state import is_loop, read_state

from .conftest import RULE


def test_rows_are_only_added(made) -> None:
    before = (made.root / HISTORY).read_bytes()
    made.trained(1)
    after = (made.root / HISTORY).read_bytes()
    assert after.startswith(before)
    assert [event.kind for event in read_history(made.root)] == [
        "begun",
        "started",
        "collected",
        "demonstrated",
        "trained",
    ]


def test_a_promotion_is_served_and_a_rollback_undoes_it(made) -> None:
    assert read_state(made.root).served.name == "round-0"
    for number, against in ((1, "round-0"), (2, "round-1")):
        made.trained(number)
        made.opened(number, against)
        state = read_state(made.root)
        assert state.served.name == against
        assert list(state.model_names) == [against, f"round-{number}"]
        made.ended(number, "promoted")
        state = read_state(made.root)
        assert (state.served.name, state.served.path) == (
            f"round-{number}",
            f"rounds/00{number}/ppo/model",
        )
        assert state.comparison is None
        assert state.rounds[number].ended
    add_event(made.root, "rolled_back", 2, "bob", model="round-1")
    assert read_state(made.root).served.name == "round-1"
    add_event(made.root, "rolled_back", 1, "bob", model="round-0")
    assert read_state(made.root).served.name == "round-0"


def test_a_candidate_that_is_kept_back_changes_nothing(made) -> None:
    made.trained(1)
    made.opened(1, "round-0")
    made.ended(1, "kept")
    state = read_state(made.root)
    assert (state.served.name, state.comparison, state.rounds[1].phase) == ("round-0", None, "kept")


def test_a_rollback_ends_the_comparison_with_what_is_no_longer_served(made) -> None:
    made.trained(1)
    made.opened(1, "round-0")
    made.ended(1, "promoted")
    made.trained(2)
    made.opened(2, "round-1")
    add_event(made.root, "rolled_back", 1, "bob", model="round-0")
    state = read_state(made.root)
    assert state.comparison is None
    assert not state.rounds[2].ended
    made.opened(2, "round-0")
    comparison = read_state(made.root).comparison
    assert comparison is not None
    assert (comparison.candidate.name, comparison.against.name) == ("round-2", "round-0")


def test_a_broken_row_is_named(made) -> None:
    path = made.root / HISTORY
    path.write_text(path.read_text() + '{"kind": "crowned", "round": 1, "at": "", "by": ""}\n')
    with pytest.raises(RunDirError, match=r"history.jsonl:2: .*crowned"):
        read_history(made.root)


def test_what_is_no_loop(tmp_path) -> None:
    assert not is_loop(tmp_path)
    with pytest.raises(RunDirError, match="is no loop"):
        read_state(tmp_path)


def test_deciders_wait_for_each_other(made) -> None:
    """Eight threads each read, think and add; none overwrites another's row."""

    def decide(number: int) -> None:
        with deciding(made.root):
            seen = len(read_history(made.root))
            add_event(made.root, "started", number, "ann", served="x", seen=seen)

    threads = [threading.Thread(target=decide, args=(n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event.facts["seen"] for event in read_history(made.root)[1:]] == list(range(1, 9))


BEGUN = {"kind": "begun", "name": "helper", "model": "start/sft/model"}
STARTED = {"kind": "started", "served": "start/sft/model"}
OPENED = {"kind": "opened", "against": "round-0", **RULE}
PROMOTED = {"kind": "promoted", "why": "better", "votes": None, "judges": None}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([STARTED], r":1: 'started' cannot stand here: the first row must be 'begun'"),
        ([BEGUN, BEGUN], r":2: 'begun' cannot stand here: the loop has begun before"),
        ([BEGUN, {"kind": "trained", "model": "m"}], r":2: .*: round 1 has not started"),
        ([BEGUN, STARTED, OPENED], r":3: .*: round 1 has no candidate"),
        ([BEGUN, {"kind": "rolled_back", "model": "m"}], r":2: .*: nothing was served before"),
        ([BEGUN, STARTED, PROMOTED], r":3: .*: nothing of round 1 is being compared"),
        ([BEGUN, {**STARTED, "served": 5}], r":2: no event of a loop: served: .*string"),
        ([BEGUN, {"kind": "started"}], r":2: no event of a loop: served: field required"),
        ([BEGUN, {**STARTED, "round": "1"}], r":2: no event of a loop: round: .*integer"),
        ([BEGUN, STARTED, {**OPENED, "decided_by": ["mice"]}], r":3: .*decided_by\.0: "),
        ([BEGUN, STARTED, {**PROMOTED, "votes": {}}], r":3: .*votes\.value: field required"),
        ([["begun"]], r":1: no event of a loop: a row must be an object"),
    ],
)
def test_a_history_that_cannot_be_is_one_line_with_its_place(tmp_path, rows, message) -> None:
    """Each ended in a KeyError, IndexError or AssertionError before."""
    own = {"round": 1, "at": "", "by": "ann"}
    lines = [json.dumps({**own, **row} if isinstance(row, dict) else row) for row in rows]
    (tmp_path / HISTORY).write_text("".join(line + "\n" for line in lines))
    with pytest.raises(RunDirError, match=HISTORY + message):
        read_state(tmp_path)


def test_a_history_that_is_not_text_is_named(made) -> None:
    path = made.root / HISTORY
    path.write_bytes(path.read_bytes() + b'{"kind": "\xff"}\n')
    with pytest.raises(DataError, match=r"history.jsonl:2: not UTF-8"):
        read_state(made.root)


def test_a_loop_whose_start_is_being_made_is_one(tmp_path) -> None:
    for folder in ("start", "rounds"):
        (tmp_path / folder).mkdir()
    assert is_loop(tmp_path)
    with pytest.raises(RunDirError, match=r"the start of the loop .* is not finished"):
        read_state(tmp_path)
