from __future__ import annotations

import random
from typing import Any, NamedTuple

import pytest

from instructgpt.data.records import Demonstration, Document, Prompt, Ranking
from instructgpt.data.splits import Keys, contamination, held_out, identity
from instructgpt.errors import DataError


class Parts(NamedTuple):
    train: list[Any]
    heldout: list[Any]


def split(records, fraction, seed, by="prompt_and_user", user_key="user") -> Parts:
    sides = held_out(Keys.of(records, user_key), fraction, seed, by)
    parts = Parts([], [])
    for record, side in zip(records, sides, strict=True):
        (parts.heldout if side else parts.train).append(record)
    return parts


def prompts(n, users=None):
    return [Prompt.from_text(f"question {i}", user=users and f"u{i % users}") for i in range(n)]


def test_every_record_is_on_one_side_in_its_order_and_the_share_is_about_right():
    records = prompts(4000)
    parts = split(records, 0.25, seed=1)
    heldout = set(parts.heldout)
    assert parts.train == [r for r in records if r not in heldout]
    assert parts.heldout == [r for r in records if r in heldout]
    # 4000 independent coins of 0.25: 6 standard deviations are 164
    assert abs(len(parts.heldout) - 1000) < 164


@pytest.mark.parametrize("by", ["prompt", "user", "prompt_and_user"])
def test_the_order_of_the_records_does_not_matter(by):
    records = prompts(300, users=60)
    shuffled = records.copy()
    random.Random(0).shuffle(shuffled)
    assert set(split(records, 0.3, 5, by).heldout) == set(split(shuffled, 0.3, 5, by).heldout)
    assert split(records, 0.3, 5, by).heldout != split(records, 0.3, 6, by).heldout


def test_rows_of_one_prompt_stay_together_whatever_their_kind_of_answer():
    asked = prompts(50)
    rows = [Ranking(p, (f"a{i}", "b"), (1, 2)) for p in asked for i in range(4)]
    parts = split(rows, 0.4, seed=0, by="prompt")
    assert not {r.prompt for r in parts.train} & {r.prompt for r in parts.heldout}
    assert len(parts.heldout) % 4 == 0


def test_a_typed_again_prompt_counts_as_the_same():
    same = ["What  is a\ncat?", "what is a cat?", "ＷＨＡＴ is a cat? "]
    assert len({identity(Prompt.from_text(text)) for text in same}) == 1
    assert identity(Prompt.from_text("What is a cat")) != identity(Prompt.from_text(same[0]))
    assert identity(Document("x")) != identity(Prompt.from_text("x"))


def test_users_and_prompts_never_straddle():
    generator = random.Random(3)
    records = [
        Prompt.from_text(f"question {generator.randrange(400)}", user=generator.choice(users))
        for users in ([None], [f"u{i}" for i in range(300)])
        for _ in range(200)
    ]
    parts = split(records, 0.5, seed=2)
    assert not {identity(p) for p in parts.train} & {identity(p) for p in parts.heldout}
    assert not ({p.user for p in parts.train} & {p.user for p in parts.heldout}) - {None}


def test_a_chain_of_shared_prompts_and_users_is_one_group():
    # a -u1- b, b asked again by u2, who also asked c: all linked; d stands alone
    chain = [
        Prompt.from_text("a", user="u1"),
        Prompt.from_text("b", user="u1"),
        Prompt.from_text("b", user="u2"),
        Prompt.from_text("c", user="u2"),
    ]
    alone = Prompt.from_text("d")
    separated = 0
    for seed in range(40):
        try:
            parts = split([*chain, alone], 0.5, seed)
        except DataError:
            continue
        separated += 1
        assert [alone] in (parts.train, parts.heldout)
    # both on one side half of the time: 20 expected, 3.2 standard deviation
    assert 5 < separated < 35


def test_an_organisation_on_some_rows_does_not_part_a_user():
    """A user whose rows name the organisation now and then was on both sides."""
    records = [
        Prompt.from_text(
            f"question {i}", user=f"u{i % 20}", meta={"org": f"o{i % 4}"} if i % 3 else {}
        )
        for i in range(120)
    ]
    for by in ("user", "prompt_and_user"):
        parts = split(records, 0.5, seed=1, by=by, user_key="org")
        assert not {p.user for p in parts.train} & {p.user for p in parts.heldout}, by
        orgs = [{p.meta["org"] for p in side if p.meta} for side in parts]
        assert not orgs[0] & orgs[1], by


def test_a_record_keeps_its_side_when_others_come():
    few = split(prompts(100), 0.3, seed=0, by="prompt")
    more = split(prompts(500), 0.3, seed=0, by="prompt")
    assert set(few.heldout) <= set(more.heldout)
    assert set(few.train) <= set(more.train)


def test_documents_split_by_text():
    documents = [Document(f"text {i % 40}") for i in range(80)]
    parts = split(documents, 0.5, seed=0)
    assert not {d.text for d in parts.train} & {d.text for d in parts.heldout}


def test_an_empty_side_and_wrong_settings_are_errors():
    with pytest.raises(DataError, match="leaves the held-out side empty"):
        split(prompts(2), 0.001, seed=0, by="prompt")
    for fraction in (0, 1, 1.5):
        with pytest.raises(ValueError, match="between 0 and 1"):
            split(prompts(9), fraction, seed=0)
    with pytest.raises(ValueError, match="by must be prompt, user or"):
        split(prompts(9), 0.5, seed=0, by="row")


def test_contamination_names_the_heldout_records():
    asked = prompts(4)
    train = [Demonstration(asked[1], "a"), Ranking(asked[3], ("a", "b"), (1, 2))]
    found = contamination(train, asked)
    assert (found.indices, found.total) == ((1, 3), 4)
    assert str(found) == "2 of 4 held-out records share a prompt with training"
    parts = split(asked * 5, 0.5, seed=1)
    assert contamination(parts.train, parts.heldout).indices == ()
