"""The labeler's desk: who gets which task, in which order, and for how long it is theirs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from instructgpt.data.records import Prompt
from instructgpt.errors import LabelError
from instructgpt.storage.address import open_database
from instructgpt.storage.annotation import Annotation
from instructgpt.storage.label_access import LabelAccess, Person
from instructgpt.storage.label_answers import LabelAnswers
from instructgpt.storage.label_desk import LabelDesk
from instructgpt.storage.label_store import LabelStore
from instructgpt.storage.migrations import MIGRATIONS

UUID = "u" * 16


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> str:
        return self.now.isoformat(timespec="milliseconds")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(address: str, clock: Clock) -> Iterator[LabelDesk]:
    with LabelStore(address, clock=clock) as store:
        for number in range(3):
            prompt = Prompt.from_text(f"prompt {number}").to_dict()
            store.add_task(prompt, [f"{c}" for c in "abcdef"])
        yield LabelDesk(store)


def hire(desk: LabelDesk, name: str) -> Person:
    access = LabelAccess(desk.store)
    person = access.who(access.sign_in(access.invite(name)) or "")
    assert person is not None
    return person


def test_a_session_ends_after_ninety_days_also_on_the_server(desk, clock) -> None:
    """Only the cookie knew of the 90 days: a copy of it opened the page for ever."""
    access = LabelAccess(desk.store)
    link = access.invite("ann")
    session = access.sign_in(link) or ""
    clock.now += timedelta(days=90, seconds=-1)
    assert access.who(session) is not None
    clock.now += timedelta(seconds=2)
    assert access.who(session) is None
    assert access.who(access.sign_in(link) or "") is not None  # the link still opens


def test_a_task_that_nobody_touches_is_handed_to_somebody_else(desk, clock) -> None:
    ann, bob = hire(desk, "ann"), hire(desk, "bob")
    held = desk.next(ann)
    assert held is not None
    assert [desk.next(bob).task_id, held.task_id] == [2, 1]
    clock.now += timedelta(hours=3)
    desk.save_draft(ann, held.id, {}, 0)  # still at it
    clock.now += timedelta(hours=3)
    answer(desk, bob, 2)
    assert desk.next(bob).task_id == 3
    answer(desk, bob, 3)
    assert desk.next(bob) is None
    clock.now += timedelta(hours=2)
    assert desk.next(bob).task_id == 1
    answer(desk, ann, 1)  # late is not lost
    assert len(list(desk.store.rankings(task=1))) == 1


def test_a_tab_may_send_a_draft_again_and_another_tab_may_not(desk) -> None:
    ann = hire(desk, "ann")
    number = desk.next(ann).id

    def save(tab: str, edit: int, version: int) -> int | None:
        return desk.save_draft(ann, number, {"edit": {"tab": tab, "number": edit}}, version)

    assert save("one", 1, 0) == 1
    assert save("one", 1, 0) == 2  # its receipt was lost
    assert save("one", 2, 0) == 3
    assert save("one", 1, 0) is None  # late, behind a newer one
    assert save("two", 9, 0) is None
    assert save("two", 9, 3) == 4
    assert save("one", 3, 3) is None
    assert desk.save_draft(ann, number, {}, 3) is None


def test_everybody_sees_an_order_of_their_own_and_always_the_same(desk) -> None:
    orders = set()
    for name in ("ann", "bob", "cem"):
        person = hire(desk, name)
        number = desk.assign(1, person.id, "lead")
        first = desk.open(person, number)
        assert sorted(first.order) == list(range(6))
        assert first.completions == tuple("abcdef"[i] for i in first.order)
        assert desk.open(person, desk.assign(1, person.id, "lead")).order == first.order
        orders.add(first.order)
    assert len(orders) == 3


def test_ratings_and_flags_follow_the_ranks_into_the_task_s_order(desk) -> None:
    ann = hire(desk, "ann")
    number = desk.assign(1, ann.id, "lead")
    shown = desk.open(ann, number).completions
    worth = dict(zip("abcdef", [3, 1, 2, 5, 4, 6], strict=True))
    said = Annotation(
        [worth[text] for text in shown],
        [8 - worth[text] for text in shown],
        {"sexual": [text == "c" for text in shown], "pii": True},
    )
    LabelAnswers(desk).submit_ranking(ann, number, said, UUID)
    (row,) = desk.store.rankings()
    assert row["ranks"] == [3, 1, 2, 5, 4, 6]
    assert row["meta"]["ratings"] == [5, 7, 6, 3, 4, 2]
    assert row["meta"]["flags"] == {
        "sexual": [False, False, True, False, False, False],
        "pii": True,
    }
    draft = desk.open(ann, number).draft  # gone back to, it is as it was left
    assert draft is not None
    assert (draft["ranks"], draft["ratings"], draft["flags"]) == (
        said.ranks,
        said.ratings,
        said.flags,
    )


def test_the_same_task_wanted_by_more_people_is_still_one_task(desk) -> None:
    prompt = Prompt.from_text("prompt 0").to_dict()
    assert desk.store.add_task(prompt, list("abcdef"), wanted=2) == 1
    assert desk.store.add_task(prompt, list("abcdef")) == 1
    people = [hire(desk, name) for name in ("ann", "bob")]
    assert [desk.next(person).task_id for person in people] == [1, 1]


def test_nobody_takes_a_simulated_labeler_s_name(desk) -> None:
    desk.store.add_labeler("robot", kind="simulated")
    with pytest.raises(LabelError, match="is a simulated labeler here"):
        LabelAccess(desk.store).invite("robot")
    for name in ("", " ", "a\nb", "x" * 65):
        with pytest.raises(LabelError, match="is no name"):
            LabelAccess(desk.store).invite(name)


def test_a_store_from_before_the_page_gets_its_tables_and_keeps_its_rows(
    address: str, outside
) -> None:
    with closing(open_database(address)) as old:
        assert old.migrate(MIGRATIONS[:1]) == 1
    prompt = '{"prompt":[{"content":"hi","role":"user"}]}'
    for statement in (
        "INSERT INTO labelers VALUES (1, 'ann', 'person', '{}', 't0')",
        f"INSERT INTO tasks VALUES (1, '{prompt}', 'key', 'content', '{{}}', 't0')",
        "INSERT INTO completions VALUES (1, 0, 'a', NULL, '{}'), (1, 1, 'b', NULL, '{}')",
        "INSERT INTO annotations VALUES "
        "(1, 1, 1, 'u', 1, '[1,2]', NULL, '{}', '', NULL, NULL, 't1')",
    ):
        outside(statement)
    if "://" in address:  # numbers that we have given ourselves
        outside("ALTER TABLE labelers ALTER id RESTART WITH 2")
    with LabelStore(address) as store:
        (row,) = store.rankings()
        assert (row["ranks"], row["labeler"], row["meta"]["use_case"]) == ([1, 2], "ann", None)
        desk = LabelDesk(store)
        assert desk.next(hire(desk, "bob")).task_id == 1


@pytest.mark.parametrize("table", ["demonstrations", "events"])
def test_what_was_said_cannot_be_changed_even_from_outside(desk, outside, table: str) -> None:
    ann = hire(desk, "ann")
    task = desk.store.add_demonstration_task(Prompt.from_text("write").to_dict())
    number = desk.assign(task, ann.id, "lead")
    LabelAnswers(desk).submit_demonstration(ann, number, "text", client_uuid=UUID)
    for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET created_at = 'then'"):
        with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError), match="only ever"):
            outside(statement)


def answer(desk: LabelDesk, person: Person, task: int) -> None:
    number = desk.assign(task, person.id, person.name)
    said = Annotation([1, 2, 3, 4, 5, 6])
    LabelAnswers(desk).submit_ranking(person, number, said, f"{person.name}-{task}")
