from __future__ import annotations

import json

import pytest

from instructgpt.data.records import Demonstration, Document, Message, Prompt, Ranking

TURNS = (
    Message("system", "Be brief."),
    Message("user", "你好吗？"),
    Message("assistant", "很好。"),
    Message("user", "And the weather?"),
)
PROMPT = Prompt(TURNS, id="p7", user="u1", meta={"task": "chat"})
RANKING = Ranking(PROMPT, ("a", "b", "c", "d"), (2, 1, 2, 4), labeler="l1", meta={"flags": [1]})


@pytest.mark.parametrize(
    "record",
    [
        Document("一 text", {"file": "a.txt"}),
        PROMPT,
        Demonstration(PROMPT, "Fine.", labeler="l1", meta={"likert": 6}),
        Prompt((Message("user", "q"), Message("assistant", "a", weight=0), Message("user", "r"))),
        RANKING,
    ],
    ids=lambda record: type(record).__name__,
)
def test_json_form_gives_the_record_back(record):
    through_json = json.loads(json.dumps(record.to_dict()))
    assert type(record).from_dict(through_json) == record


def test_json_forms_are_the_documented_ones_and_leave_defaults_out():
    prompt = Prompt.from_text("Hi")
    assert prompt.to_dict() == {"prompt": [{"role": "user", "content": "Hi"}]}
    assert Demonstration(prompt, "").to_dict() == {
        "prompt": [{"role": "user", "content": "Hi"}],
        "completion": "",
    }
    assert Ranking(prompt, ("a", "b"), (1, 1)).to_dict() == {
        "prompt": [{"role": "user", "content": "Hi"}],
        "completions": ["a", "b"],
        "ranks": [1, 1],
    }
    assert Document("x").to_dict() == {"text": "x"}


def test_pairs_are_winner_first_and_ties_are_counted():
    # ranks 2 1 2 4 by hand: b beats a, c, d; a and c beat d; a and c tie
    assert sorted(RANKING.pairs()) == [(0, 3), (1, 0), (1, 2), (1, 3), (2, 3)]
    assert RANKING.num_ties() == 1


def test_nine_distinct_ranks_give_36_pairs():
    ranking = Ranking(PROMPT, tuple("abcdefghi"), tuple(range(1, 10)))
    assert len(ranking.pairs()) == 36
    assert ranking.num_ties() == 0


def test_key_depends_on_the_conversation_alone():
    assert PROMPT.key == Prompt(TURNS, id="other", user="u2").key
    assert PROMPT.key != Prompt(TURNS[1:]).key
    assert Prompt.from_text("a").key != Prompt.from_text("a ").key
    # turns must not run into each other
    one = Prompt((Message("user", "a"), Message("assistant", "b"), Message("user", "c")))
    other = Prompt((Message("user", "a"), Message("assistant", "bc"), Message("user", "")))
    assert one.key != other.key


def test_key_is_stable_across_versions():
    # sha256 of [["user","Hi"]], cut to 32 digits, by `printf '[["user","Hi"]]' | sha256sum`
    assert Prompt.from_text("Hi").key == "8b1450277179b15b70831cee0e0ec563"


def test_demonstration_messages_end_with_the_answer():
    messages = Demonstration(PROMPT, "Sunny.").messages
    assert messages == (*TURNS, Message("assistant", "Sunny."))


def test_records_can_be_set_members():
    assert len({PROMPT, Prompt(TURNS, id="p7", user="u1", meta={"task": "chat"})}) == 1


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Message("robot", "x"), "role must be one of system, user, assistant"),
        (lambda: Message("user", None), "content must be a string, not null"),
        (lambda: Message("assistant", "x", weight=0.5), "weight must be 0 or 1, not 0.5"),
        (lambda: Message("user", "x", weight=0), "weight belongs to assistant turns"),
        (lambda: Prompt(()), "at least one message"),
        (lambda: Prompt(TURNS[:3]), "must end with a user turn, not with 'assistant'"),
        (lambda: Ranking(PROMPT, ("a",), (1,)), "at least 2 completions, not 1"),
        (lambda: Ranking(PROMPT, ("a", "b"), (1,)), "2 completions but 1 ranks"),
        (lambda: Ranking(PROMPT, ("a", "b"), (0, 1)), "from 1 .best., not 0"),
        (lambda: Ranking(PROMPT, ("a", "b"), (1.5, 1)), "not 1.5"),
        (lambda: Ranking(PROMPT, ("a", "b"), (True, 1)), "not True"),
        (lambda: Prompt.from_dict({"prompt": "Hi"}), "prompt must be a list, not a string"),
        (lambda: Prompt.from_dict({}), "a prompt lacks 'prompt'"),
        (lambda: Prompt.from_dict([]), "must be an object, not a list"),
        (lambda: Document.from_dict({"text": 3}), "text must be a string, not a number"),
        (
            lambda: Demonstration.from_dict({**PROMPT.to_dict(), "completion": "x"} | {"lab": 1}),
            "a demonstration has no field 'lab'",
        ),
    ],
)
def test_wrong_shapes_are_refused_with_the_field_named(make, says):
    with pytest.raises(ValueError, match=says):
        make()
