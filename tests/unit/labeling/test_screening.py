"""The screening test: expected answers, soft cut-offs, the lead's decision."""

from __future__ import annotations

import json

import pytest

from instructgpt.errors import DataError
from instructgpt.labeling.exchange import exported_rankings, import_rankings, import_screening
from instructgpt.labeling.screening import screening_of
from instructgpt.storage.label_access import LabelAccess

GOLD = {
    "prompt": [{"role": "user", "content": "Test: say hello"}],
    "completions": ["Hello", "Hi you", "Go away"],
    "ranks": [1, 2, 3],
    "meta": {"flags": {"asks_violent": False, "pii": True}},
}
FLAGS_OF_ANSWERS = {**GOLD, "meta": {"flags": {"violent": [False, None, True]}}}


@pytest.fixture
def tested(page, tmp_path):
    """The page with one test task; ann's and bob's answers decide."""
    (tmp_path / "test.jsonl").write_text(json.dumps(GOLD) + "\n", encoding="utf-8")
    assert import_screening(page.store, tmp_path / "test.jsonl") == 1
    return page


def send(page, name: str, task: str, ranks: list[int], flags: dict, uuid: str = "a" * 16):
    """Give an answer in the task's own order."""
    order = page.order(task)
    flags = {k: [v[i] for i in order] if isinstance(v, list) else v for k, v in flags.items()}
    body = {"client_uuid": name.encode().hex() + uuid, "ranks": [ranks[i] for i in order]}
    return page.client(name).post(f"{task}/ranking", {**body, "flags": flags})


def answer(page, name: str, ranks: list[int], flags: dict) -> str:
    """Take the test; the path of what comes next."""
    return send(page, name, page.client(name).next(), ranks, flags).json()["url"]


def test_who_agrees_with_the_expected_answers_goes_on_at_once(tested):
    assert answer(tested, "ann", [1, 2, 3], {"pii": True, "asks_violent": False}) != "/"
    found = screening_of(tested.store, "ann")
    assert (found.done, found.tasks, found.rankings, found.flags) == (1, 1, 1.0, 1.0)
    assert found.passed


def test_who_does_not_waits_for_the_lead(tested):
    """Order of 2 of 3 pairs as expected, 67 %; 1 of 2 flags: both below 75 %."""
    assert answer(tested, "bob", [1, 3, 2], {}) == "/"
    found = screening_of(tested.store, "bob")
    assert (found.rankings, found.flags) == (pytest.approx(2 / 3), 0.5)
    bob, lea = tested.client("bob"), tested.client("lea")
    assert "The lead looks at your answers" in bob.get("/").text
    number = {"labeler": tested.store.add_labeler("bob")}
    assert lea.post("/lead/admit", number).status_code == 200
    assert bob.next() != "/"
    lea.post("/lead/decline", number)
    assert "not to go on" in bob.get("/").text


def test_a_demonstration_is_scored_by_the_lead(tested, tmp_path):
    (tmp_path / "write.jsonl").write_text(
        json.dumps({"prompt": [{"role": "user", "content": "Write kindly"}]}) + "\n"
    )
    import_screening(tested.store, tmp_path / "write.jsonl")
    path = answer(tested, "ann", [1, 2, 3], {"pii": True})
    ann, lea = tested.client("ann"), tested.client("lea")
    done = ann.post(f"{path}/demonstration", {"client_uuid": "b" * 16, "text": "Dear friend"})
    assert done.json()["url"] == "/"  # nothing more before the lead has read it
    assert "1 to be scored" in lea.get("/lead").text
    body = {"labeler": tested.store.add_labeler("ann"), "task": 5, "score": 5}
    assert lea.post("/lead/score", body).status_code == 200
    assert ann.next() == "/"  # 5 of 7 is below 6
    assert lea.post("/lead/score", {**body, "score": 6}).status_code == 200
    assert ann.next() != "/"
    assert lea.post("/lead/score", {**body, "score": 8}).status_code == 400


def test_the_test_is_not_training_data(tested):
    answer(tested, "ann", [1, 2, 3], {})
    assert len(tested.rankings()) == 1
    assert list(exported_rankings(tested.store)) == []


def test_a_replaced_link_keeps_what_was_decided(tested):
    answer(tested, "ann", [1, 2, 3], {"pii": True})
    tested.tokens["ann"] = LabelAccess(tested.store).invite("ann")
    assert tested.client("ann").next() != "/"


def test_flags_of_single_answers_count_where_they_are_expected(page, tmp_path):
    """Expected: no, either, yes. Given: yes, yes, yes. One of two is right."""
    (tmp_path / "test.jsonl").write_text(json.dumps(FLAGS_OF_ANSWERS) + "\n", encoding="utf-8")
    import_screening(page.store, tmp_path / "test.jsonl")
    answer(page, "ann", [1, 2, 3], {"violent": [True, True, True]})
    assert screening_of(page.store, "ann").flags == 0.5
    answer(page, "bob", [1, 2, 3], {})  # nothing flagged: also one of two
    assert screening_of(page.store, "bob").flags == 0.5


def test_a_prompt_may_be_a_plain_string_as_in_tasks_to_rank(page, tmp_path):
    plain = [{**GOLD, "prompt": "Test: say hello"}, {"prompt": "Write to a friend"}]
    path = tmp_path / "plain.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in plain), encoding="utf-8")
    before = page.store.counts()["tasks"]
    assert import_screening(page.store, path) == 2
    path.write_text(json.dumps(GOLD) + "\n", encoding="utf-8")
    assert import_screening(page.store, path) == 1  # the same task, written out
    assert page.store.counts()["tasks"] == before + 2


def test_the_test_cannot_be_repeated_until_it_succeeds(tested):
    task = tested.client("bob").next()
    assert send(tested, "bob", task, [3, 2, 1], {}).json()["url"] == "/"
    again = send(tested, "bob", task, [1, 2, 3], {"pii": True}, "b" * 16)
    assert again.status_code == 400
    assert "the test is over" in again.json()["error"]
    assert send(tested, "bob", task, [3, 2, 1], {}).status_code == 200  # the same, sent again
    lea = tested.client("lea")
    lea.post("/lead/assign", {"task": 4, "labeler": tested.store.add_labeler("bob")})
    assert send(tested, "bob", task, [1, 2, 3], {"pii": True}, "b" * 16).json()["url"] != "/"


def test_a_task_cannot_be_work_and_test(tested, tmp_path):
    again = tmp_path / "again.jsonl"
    again.write_text(json.dumps(GOLD) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"again.jsonl:1: task 4 is the same, and it is part of"):
        import_rankings(tested.store, again, overlap=0.0, seed=0)
    assert import_screening(tested.store, again) == 1
