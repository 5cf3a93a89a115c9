"""Each filter on cases worked out by hand, their order, and what a reviewer gets to see."""

from __future__ import annotations

import json
from typing import Any

import pytest

from instructgpt.data.digests import gather
from instructgpt.data.hygiene.clean import Rules, clean
from instructgpt.data.hygiene.cleaned import Cleaned
from instructgpt.data.hygiene.contamination import overlaps
from instructgpt.data.hygiene.exact_duplicates import exact_duplicates
from instructgpt.data.hygiene.prefix_duplicates import prefix_duplicates
from instructgpt.data.hygiene.removals import Row, counts_by_file
from instructgpt.data.hygiene.user_caps import beyond_cap
from instructgpt.data.readers import Loaded, Origin
from instructgpt.data.records import (
    Demonstration,
    Document,
    Message,
    Prompt,
    Ranking,
    Record,
)
from instructgpt.data.splits import identity_digest
from instructgpt.errors import DataError

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen"


def rows(*records: Record, file: str = "f.jsonl") -> list[Row]:
    return [Row(record, Origin(file, number)) for number, record in enumerate(records, start=1)]


def reasons(cleaned: Cleaned) -> list[tuple[int, str]]:
    return [(one.row.origin.row, one.reason) for one in cleaned.removals]


def ask(text: str, **fields: Any) -> Prompt:
    return Prompt.from_text(text, **fields)


def test_a_shared_prefix_counts_words_and_names_the_first_that_has_it() -> None:
    texts = [
        "a b c d x",
        "a b c",  # too short
        "A b, c d!",
        "x a b c d",
        "猫在树上睡觉",
        "猫在树下玩",
        "a b c d x y",
    ]
    found = prefix_duplicates(texts, 4)
    assert [(one.at, one.other, one.length) for one in found] == [(2, 0, 4), (6, 0, 5)]
    # characters of Chinese: 猫在树 is shared, and three of them are enough
    assert [(one.at, one.length) for one in prefix_duplicates(texts[4:6], 3)] == [(1, 3)]


def test_a_system_turn_that_all_share_makes_nothing_alike() -> None:
    system = Message("system", "You are careful. " * 40)
    prompts = [
        Prompt((system, Message("user", text)))
        for text in ("How tall is an oak?", "Name a river in China.")
    ]
    assert clean(rows(*prompts), Rules(prefix_words=5)).removals[:] == []


def test_second_answers_and_second_opinions_are_no_repetitions() -> None:
    prompt = ask("Name a bird.")
    again = ask(" name a  BIRD. ", id="2")
    ranking = Ranking(prompt, ("a", "b"), (1, 2), labeler="x")
    records = [
        prompt,
        again,
        Demonstration(prompt, "Owl"),
        Demonstration(again, "Owl", labeler="z"),
        Demonstration(prompt, "Emu"),
        ranking,
        Ranking(prompt, ("a", "b"), (1, 2), labeler="y"),
        Ranking(again, ("a", "b"), (1, 2), labeler="x"),
        Document("Name a bird."),
    ]
    assert [tuple(one) for one in exact_duplicates(records)] == [(1, 0), (3, 2), (7, 5)]


def test_all_rows_of_a_near_duplicate_prompt_go_but_another_kind_stays() -> None:
    first, near = ask("How do I cook rice at home"), ask("How do I cook rice at home?")
    cleaned = clean(
        rows(
            Demonstration(first, "a"),
            Demonstration(near, "b"),
            Demonstration(near, "c"),
            Ranking(near, ("a", "b"), (1, 2)),
        ),
        Rules(),
    )
    assert reasons(cleaned) == [(2, "near_duplicate"), (3, "near_duplicate")]
    assert cleaned.removals[0].evidence == {
        "other": {"file": "f.jsonl", "row": 1},
        "similarity": 1.0,
    }


def test_the_cap_counts_prompts_of_a_user_and_not_their_order() -> None:
    prompts = [ask(f"question {i}", user="u") for i in range(10)]
    records: list[Record] = [*prompts, *(Demonstration(one, "a") for one in prompts)]
    asked = gather(map(identity_digest, records))
    users = ["u"] * 20
    gone = [one.at for one in beyond_cap(asked, users, 4, seed=0)]
    assert len(gone) == 12
    assert {at % 10 for at in gone} == {at for at in gone if at < 10}
    backwards = [one.at for one in beyond_cap(asked[::-1], users, 4, seed=0)]
    assert {19 - at for at in backwards} == set(gone)
    assert gone != [one.at for one in beyond_cap(asked, users, 4, seed=1)]
    assert beyond_cap(asked, users, 10, seed=0) == []
    assert beyond_cap(asked, [None] * 20, 1, seed=0) == []


def test_the_cap_of_the_paper_and_an_organisation_instead_of_a_user() -> None:
    prompts = [
        ask(f"question {i}", user=f"u{i % 7}", meta={"organization": f"o{i % 2}"})
        for i in range(450)
    ]
    assert Rules().user_cap == 200
    assert clean(rows(*prompts), Rules(similarity=None)).removals[:] == []
    cleaned = clean(rows(*prompts), Rules(similarity=None, user_key="organization"))
    assert len(cleaned.rows) == 400
    assert cleaned.removals[0].evidence == {"user": "o0", "prompts": 225, "cap": 200}
    with pytest.raises(DataError, match="no record has 'organisation' in its meta"):
        clean(rows(*prompts), Rules(user_key="organisation"))


def test_evaluation_prompts_are_found_alike_quoted_and_answered() -> None:
    evaluation = [ask("How tall is the tower of Pisa today?"), ask(f"Sort these words: {LONG}.")]
    records = [
        ask("how tall is the tower of pisa today"),
        ask("How tall is the tower of London?"),
        Document(f"Before it. {LONG.upper()}! And after it."),
        Document(" ".join(LONG.split()[:12])),
        Demonstration(ask("Say numbers"), f"Gladly: {LONG}"),
    ]
    found = list(overlaps(records, evaluation, 0.8, 13))
    assert [(one.at, one.other) for one in found] == [(0, 0), (2, 1), (4, 1)]
    assert found[0].similarity == 1.0
    assert found[1].shared == LONG


def test_order_of_the_filters_evidence_and_counts() -> None:
    evaluation: Loaded[Prompt] = Loaded([ask("What is a fen?")], "", [], [Origin("eval", 9)])
    mail = "Write to jo.doe@mail.org"
    cleaned = clean(
        rows(
            ask("What is a FEN"),
            ask(mail),
            ask(mail),
            ask(f"{LONG} a b"),
            ask(f"{LONG} c d e f g h"),
            ask("Name a bird."),
            ask("name a bird."),
        ),
        Rules(prefix_words=13),
        evaluation,
    )
    assert reasons(cleaned) == [
        (1, "contaminated"),
        (2, "personal_data"),
        (3, "personal_data"),
        (7, "exact_duplicate"),
        (5, "prefix_duplicate"),
    ]
    assert cleaned.removals[0].evidence["other"] == {"file": "eval", "row": 9}
    assert [row.origin.row for row in cleaned.rows] == [4, 6]
    counts = counts_by_file(rows(*[ask("x")] * 7), cleaned.removals)
    assert counts == {
        "f.jsonl": {
            "records": 7,
            "contaminated": 1,
            "personal_data": 2,
            "exact_duplicate": 1,
            "prefix_duplicate": 1,
            "kept": 2,
        }
    }


def test_masking_keeps_the_record_and_tells_of_it() -> None:
    first, second = ask("Write to jo.doe@mail.org"), ask("Write to al.roe@mail.org")
    cleaned = clean(rows(first, second), Rules(personal_data="mask"))
    assert [row.record for row in cleaned.rows] == [ask("Write to [email]")]
    # masked, the two say the same
    assert reasons(cleaned) == [
        (1, "personal_data_masked"),
        (2, "personal_data_masked"),
        (2, "exact_duplicate"),
    ]
    assert counts_by_file(rows(first, second), cleaned.removals)["f.jsonl"]["kept"] == 1
    kept = clean(rows(first), Rules(personal_data="keep"))
    assert ([row.record for row in kept.rows], kept.removals[:]) == ([first], [])


def test_the_file_of_removals_holds_no_personal_data_whatever_the_reason() -> None:
    prompt = ask("Ring 13812345678 for the price of a bicycle")
    cleaned = clean(rows(prompt, prompt, ask("x")), Rules(personal_data="keep"))
    dropped = clean(rows(prompt, ask("x")), Rules())
    for removal, reason in ((cleaned, "exact_duplicate"), (dropped, "personal_data")):
        line = json.dumps(removal.removals[0].to_dict(), ensure_ascii=False)
        assert reason in line
        assert "13812345678" not in line
        assert "Ring [phone] for the price" in line
    assert dropped.removals[0].evidence == {"matches": [{"kind": "phone", "text": "13*******78"}]}
