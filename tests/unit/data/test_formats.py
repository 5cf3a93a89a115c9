"""Each format: what its rows mean, and that whatever else is in a row gives a reason."""

from __future__ import annotations

import itertools

import pytest

from instructgpt.data.formats import FORMATS
from instructgpt.data.formats.base import Omission, RowError
from instructgpt.data.formats.hh import read_transcript
from instructgpt.data.formats.ranking import ranks_from_groups
from instructgpt.data.records import Demonstration, Document, Message, Prompt, Ranking

U, A, S = "user", "assistant", "system"


def turns(*pairs):
    return tuple(Message(role, content) for role, content in pairs)


def message(role, content):
    return {"role": role, "content": content}


def parse(name, kind, row):
    return FORMATS[name].parsers[kind](row)


def test_alpaca_prompt_is_instruction_and_input_on_the_next_line():
    row = {"instruction": "Translate.", "input": "猫", "output": "cat", "source": "x", "id": "7"}
    prompt = Prompt(turns((U, "Translate.\n猫")), id="7", meta={"source": "x"})
    assert parse("alpaca", Demonstration, row) == [Demonstration(prompt, "cat")]
    assert parse("alpaca", Prompt, {"instruction": "Go.", "input": ""}) == [Prompt.from_text("Go.")]


def test_alpaca_history_and_system_come_first():
    row = {
        "system": "Be kind.",
        "history": [["q1", "a1"], ["q2", "a2"]],
        "instruction": "q3",
        "input": None,
        "output": "a3",
    }
    [found] = parse("alpaca", Demonstration, row)
    assert found.messages == turns(
        (S, "Be kind."), (U, "q1"), (A, "a1"), (U, "q2"), (A, "a2"), (U, "q3"), (A, "a3")
    )


def test_alpaca_output_list_is_a_ranking_best_first():
    row = {"instruction": "q", "input": "", "history": [], "output": ["good", "fair", "bad"]}
    assert parse("alpaca_ranking", Ranking, row) == [
        Ranking(Prompt.from_text("q"), ("good", "fair", "bad"), (1, 2, 3))
    ]


def test_prompt_completion_as_strings_or_messages():
    expected = [Demonstration(Prompt.from_text("q"), "a")]
    strings = {"prompt": "q", "completion": "a"}
    lists = {"prompt": [message(U, "q")], "completion": [message(A, "a")]}
    assert parse("prompt_completion", Demonstration, strings) == expected
    assert parse("prompt_completion", Demonstration, lists) == expected


def test_messages_keep_every_turn():
    row = {"messages": [message(S, "s"), message(U, "q"), message(A, "a")]}
    [found] = parse("messages", Demonstration, row)
    assert found.messages == turns((S, "s"), (U, "q"), (A, "a"))
    assert parse("messages", Prompt, row) == [Prompt(turns((S, "s"), (U, "q")))]


def test_preference_in_all_its_spellings():
    expected = [Ranking(Prompt.from_text("q"), ("good", "bad"), (1, 2))]
    dialogue = [message(U, "q")]
    good, bad = [message(A, "good")], [message(A, "bad")]
    for row in (
        {"prompt": "q", "chosen": "good", "rejected": "bad"},
        {"prompt": dialogue, "chosen": good, "rejected": bad},
        {"prompt": "q", "chosen": dialogue + good, "rejected": dialogue + bad},
        {"chosen": dialogue + good, "rejected": dialogue + bad},
        {"instruction": "q", "input": "", "chosen": "good", "rejected": "bad"},
    ):
        assert parse("preference", Ranking, row) == expected
        assert parse("preference", Prompt, row) == [Prompt.from_text("q")]


def test_hh_transcripts_are_cut_at_the_speakers():
    start = "\n\nHuman: Hi\n\nthere \n\nAssistant: Hello.\n\nHuman: Bye"
    row = {"chosen": start + "\n\nAssistant: Bye!", "rejected": start + "\n\nAssistant: No"}
    prompt = Prompt(turns((U, "Hi\n\nthere"), (A, "Hello."), (U, "Bye")))
    assert parse("hh", Ranking, row) == [Ranking(prompt, ("Bye!", "No"), (1, 2))]
    assert parse("hh", Prompt, row) == [prompt]
    with pytest.raises(RowError, match="before the first"):
        read_transcript("Once\n\nHuman: Hi")


def test_rankings_by_ranks_or_by_groups():
    row = {"prompt": "q", "completions": ["x", "y", "z"]}
    expected = [Ranking(Prompt.from_text("q"), ("x", "y", "z"), (2, 1, 2), labeler="l")]
    assert parse("ranking", Ranking, {**row, "ranks": [2, 1, 2], "labeler": "l"}) == expected
    assert parse("ranking", Ranking, {**row, "ranking": [[1], [0, 2]], "labeler": "l"}) == expected
    for wrong in ([[0, 1]], [[0], [1], [3]], [[0], [0], [1, 2]], [0, 1, 2], "012", [[True, 0, 2]]):
        with pytest.raises(RowError, match="'ranking'"):
            ranks_from_groups(wrong, 3)


def test_messages_in_parts_with_weights_under_either_name():
    """OpenAI writes text and weight, LLaMA-Factory value and loss_weight, also on user turns."""
    expected = (Message(U, "q1"), Message(A, "a1", weight=0), Message(U, "q2"), Message(A, "a2"))
    parts = [{"type": "text", "text": "q"}, {"type": "text", "value": "1"}]
    row = {
        "messages": [
            {**message(U, parts), "loss_weight": 0.0, "name": None, "tool_calls": []},
            {**message(A, "a1"), "weight": 0},
            message(U, "q2"),
            {**message(A, "a2"), "loss_weight": 1.0},
        ]
    }
    [found] = parse("messages", Demonstration, row)
    assert found.messages == expected
    assert Demonstration.from_dict(found.to_dict()) == found
    assert parse("messages", Prompt, row)[0].messages == turns((U, "q1"), (A, "a1"), (U, "q2"))
    # nothing behind the last turn that is learned has an influence on the loss
    tail = [message(U, "q3"), {**message(A, "a3"), "weight": 0}]
    [cut] = parse("messages", Demonstration, {"messages": row["messages"] + tail})
    assert cut == found


def test_sharegpt_names_its_speakers_otherwise():
    dialogue = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    row = {"id": "7", "system": "s", "conversations": dialogue}
    prompt = Prompt(turns((S, "s"), (U, "q")), id="7")
    assert parse("sharegpt", Demonstration, row) == [Demonstration(prompt, "a")]
    assert parse("sharegpt", Prompt, row) == [prompt]


def test_preference_with_conversations_or_with_two_dialogues():
    question = [{"from": "system", "value": "s"}, {"from": "human", "value": "q"}]
    expected = [Ranking(Prompt(turns((S, "s"), (U, "q"))), ("good", "bad"), (1, 2))]
    row = {
        "conversations": question,
        "chosen": {"from": "gpt", "value": "good"},
        "rejected": {"from": "gpt", "value": "bad"},
    }
    assert parse("preference", Ranking, row) == expected
    start = [{**message(S, "s"), "loss_weight": 0.0}, message(U, "q")]
    row = {
        "chosen_messages": [*start, {**message(A, "good"), "loss_weight": 1.0}],
        "rejected_messages": [*start, {**message(A, "bad"), "loss_weight": 1.0}],
    }
    assert parse("preference", Ranking, row) == expected


def test_questions_and_answers_are_prompts_and_completions():
    row = {"question": "1 + 1?", "answer": "2"}
    assert parse("prompt_completion", Demonstration, row) == [
        Demonstration(Prompt.from_text("1 + 1?"), "2")
    ]
    # what a checker compares with is no completion
    row = {"prompt": "1 + 1?", "answer": "2"}
    assert not FORMATS["prompt_completion"].matches(row)
    assert parse("prompt", Prompt, row) == [Prompt.from_text("1 + 1?", meta={"answer": "2"})]


def test_good_answers_are_demonstrations_and_all_prompts_are_prompts():
    row = {"messages": [message(U, "q"), message(A, "a")], "label": True}
    assert parse("unpaired", Demonstration, row) == [Demonstration(Prompt.from_text("q"), "a")]
    assert parse("unpaired", Prompt, {**row, "label": False}) == [Prompt.from_text("q")]


def test_seed_tasks_give_a_demonstration_per_instance():
    row = {
        "id": "seed_task_1",
        "instruction": "Translate.",
        "instances": [
            {"input": "猫", "output": "cat"},
            {"input": "狗", "output": " "},
            {"input": "", "output": "?"},
        ],
        "is_classification": False,
    }
    details = {"id": "seed_task_1", "meta": {"is_classification": False}}
    assert parse("self_instruct", Demonstration, row) == [
        Demonstration(Prompt.from_text("Translate.\n猫", **details), "cat"),
        Omission("an instance: empty 'output'"),
        Demonstration(Prompt.from_text("Translate.", **details), "?"),
    ]


RATED = [
    {"response": "x", "annotations": {"a": {"Rating": "4"}, "b": {"Rating": "N/A"}}},
    {"response": "y", "annotations": {"a": {"Rating": "5"}, "b": {"Rating": "1"}}},
    {"response": "z", "annotations": {"a": {"Rating": "4"}, "b": {"Rating": "5"}}},
]


def test_scored_completions_are_ranked_by_the_aspects_that_all_of_them_have():
    """x was not rated in b: only a counts, where x and z are tied; overall_score says nothing."""
    row = {"instruction": "q", "completions": [{**one, "overall_score": 10} for one in RATED]}
    assert parse("ultrafeedback", Ranking, row) == [
        Ranking(Prompt.from_text("q"), ("x", "y", "z"), (2, 1, 2))
    ]
    # over both aspects y has (5 + 1) / 2 = 3 and z (4 + 5) / 2 = 4.5
    both = {"instruction": "q", "completions": RATED[1:]}
    assert parse("ultrafeedback", Ranking, both)[0].ranks == (2, 1)


def test_rankings_by_scores_tie_where_the_scores_do():
    row = {"prompt": "q", "completions": ["x", "y", "z"], "scores": [0.5, 2, 0.5]}
    assert parse("ranking", Ranking, row)[0].ranks == (2, 1, 2)


def reply(text, rank, *replies, role="assistant", **more):
    return {"text": text, "role": role, "rank": rank, "replies": list(replies), **more}


def test_trees_give_a_ranking_per_user_turn_without_the_unranked_and_withdrawn():
    follow_up = reply("q2", None, reply("only", None), role="prompter", message_id="m2")
    root = reply(
        "q",
        None,
        reply("second", 1),
        reply("best", 0, follow_up),
        reply("unranked", None),
        reply("gone", 2, deleted=True),
        role="prompter",
        message_id="m1",
        lang="en",
    )
    row = {"message_tree_id": "t", "prompt": root}
    first = Prompt(turns((U, "q")), id="m1", meta={"tree": "t", "lang": "en"})
    second = Prompt(
        turns((U, "q"), (A, "best"), (U, "q2")), id="m2", meta={"tree": "t", "lang": None}
    )
    assert parse("open_assistant", Prompt, row) == [first, second]
    assert parse("open_assistant", Ranking, row) == [
        Omission("a reply without a rank"),
        Ranking(first, ("second", "best"), (2, 1)),
    ]
    assert parse("open_assistant", Demonstration, row) == [
        Demonstration(first, "best"),
        Demonstration(second, "only"),
    ]


def test_the_first_of_several_turns_is_the_prompt():
    row = {"question_id": 81, "turns": ["q1", "q2"]}
    assert parse("turns", Prompt, row) == [Prompt.from_text("q1", meta=row)]
    assert parse("turns", Prompt, {"turns": ["q"]}) == [Prompt.from_text("q")]


def test_text_and_works():
    row = {"text": "once", "url": "u", "meta": {"lang": "en"}}
    assert parse("text", Document, row) == [Document("once", {"url": "u", "lang": "en"})]
    poem = {"title": "靜夜思", "author": "李白", "paragraphs": ["床前看月光，", "疑是地上霜。"]}
    assert parse("work", Document, poem) == [Document("靜夜思\n床前看月光，\n疑是地上霜。")]
    volume = {"title": "v", "abstract": ["x"], "content": [poem, {"content": "line"}]}
    assert parse("work", Document, volume) == [*parse("work", Document, poem), Document("line")]


def test_our_own_rows_are_taken_at_their_word():
    prompt = Prompt(turns((U, "q")), id="1", user="u", meta={"task": "qa"})
    ranking = Ranking(prompt, ("same", "same", ""), (1, 1, 2), labeler="l")
    assert parse("records", Ranking, ranking.to_dict()) == [ranking]
    assert parse("records", Prompt, ranking.to_dict()) == [prompt]
    demonstration = Demonstration(prompt, "a", labeler="l", meta={"likert": 3})
    assert parse("records", Demonstration, demonstration.to_dict()) == [demonstration]
    assert parse("records", Prompt, demonstration.to_dict()) == [prompt]
    assert parse("records", Document, {"text": "x"}) == [Document("x")]


ALTERNATION = [message(U, "a"), message(U, "b"), message(A, "c")]


@pytest.mark.parametrize(
    ("name", "kind", "row", "says"),
    [
        ("alpaca", Demonstration, {"instruction": "q", "output": " "}, "empty 'output'"),
        ("alpaca", Demonstration, {"instruction": "q"}, "no 'output'"),
        ("alpaca", Demonstration, {"instruction": "q", "output": None}, "'output' is null"),
        ("alpaca", Demonstration, {"instruction": "q", "output": 3}, "int, not a string"),
        ("alpaca", Demonstration, {"instruction": "", "output": "x"}, "empty 'instruction'"),
        (
            "alpaca",
            Demonstration,
            {"instruction": "q", "output": "a", "history": [["q"]]},
            "'history' is not a list of .question, answer.",
        ),
        (
            "alpaca",
            Demonstration,
            {"instruction": "q", "output": "a", "history": [["q", ""]]},
            "empty assistant turn",
        ),
        ("alpaca", Demonstration, {"instruction": "q", "output": "a", "kto_tag": True}, "unpaired"),
        (
            "alpaca_ranking",
            Ranking,
            {"instruction": "q", "output": ["a", "b", " a"]},
            "duplicate answers in one ranking",
        ),
        ("alpaca_ranking", Ranking, {"instruction": "q", "output": ["a"]}, "at least 2"),
        ("alpaca_ranking", Ranking, {"instruction": "q", "output": ["a", ""]}, "empty final"),
        ("messages", Demonstration, {"messages": [message(S, "s"), message(A, "a")]}, "no user"),
        ("messages", Demonstration, {"messages": [message(U, "a")]}, "not end with an assistant"),
        (
            "messages",
            Demonstration,
            {"messages": ALTERNATION},
            "turn 2 is 'user' where 'assistant'",
        ),
        (
            "messages",
            Demonstration,
            {"messages": [message(U, None), message(A, "a")]},
            "message 1 of 'messages': content must be a string, not null",
        ),
        (
            "messages",
            Demonstration,
            {"messages": [message(U, "q"), {**message(A, "a"), "weight": 0}]},
            "every assistant turn has weight 0",
        ),
        (
            "messages",
            Demonstration,
            {"messages": [message(U, "q"), {**message(A, "a"), "weight": 0.5}]},
            "message 2 of 'messages': weight 0.5; only 0 and 1 can be used",
        ),
        (
            "messages",
            Demonstration,
            {"messages": [{**message(U, "q"), "weight": 1}, message(A, "a")]},
            "weight 1 on a 'user' turn",
        ),
        (
            "messages",
            Demonstration,
            {"messages": [message(U, "q"), {**message(A, "a"), "mood": "kind"}]},
            "no field 'mood'",
        ),
        (
            "messages",
            Demonstration,
            {"messages": [message(U, [{"type": "image_url", "image_url": {}}]), message(A, "a")]},
            "a content part is 'image_url'; only text can be read",
        ),
        (
            "messages",
            Demonstration,
            {"messages": [message(U, "q"), {**message(A, None), "tool_calls": [{}]}]},
            "'?tool_calls'?: conversations with tools",
        ),
        (
            "sharegpt",
            Demonstration,
            {"conversations": [{"from": "function_call", "value": "{}"}]},
            "'function_call': conversations with tools cannot be read",
        ),
        (
            "sharegpt",
            Demonstration,
            {"conversations": [{"from": "gpt", "value": "a"}, {"from": "human", "value": "q"}]},
            "does not end with an assistant turn",
        ),
        (
            "sharegpt",
            Demonstration,
            {"conversations": [{"from": "human", "value": "q"}], "tools": "[{}]"},
            "'tools': conversations with tools",
        ),
        ("unpaired", Demonstration, {"prompt": "q", "completion": "a", "label": False}, "bad"),
        ("unpaired", Demonstration, {"prompt": "q", "completion": "a", "label": 1}, "not true"),
        (
            "prompt_completion",
            Demonstration,
            {"question": "q", "query": "q", "answer": "a"},
            "has 'answer', 'query', 'question'; name prompt and completion with columns",
        ),
        (
            "self_instruct",
            Demonstration,
            {"instruction": "q", "instances": [{"input": "", "output": ""}]},
            "an instance: empty 'output'",
        ),
        ("turns", Prompt, {"turns": []}, "not a list of strings"),
        (
            "ultrafeedback",
            Ranking,
            {"instruction": "q", "completions": [{"response": "a"}, {"response": "b"}]},
            "no 'annotations'",
        ),
        (
            "open_assistant",
            Ranking,
            {"prompt": {"text": "q", "role": "prompter", "replies": [{"text": "a"}]}},
            "role None",
        ),
        (
            "open_assistant",
            Ranking,
            {"prompt": {"text": "q", "role": "prompter", "replies": []}},
            "no user turn with two ranked replies",
        ),
        (
            "messages",
            Demonstration,
            {"messages": [message(U, "q"), message(A, "a")], "tools": [{}]},
            "tools",
        ),
        (
            "messages",
            Demonstration,
            {"messages": [message(U, "q"), message(A, "a")], "label": False},
            "unpaired good/bad feedback",
        ),
        ("messages", Prompt, {"messages": [message(U, "q"), message("tool", "a")]}, "with tools"),
        ("messages", Prompt, {"messages": [message(U, "q"), message("judge", "a")]}, "role must"),
        (
            "preference",
            Ranking,
            {"prompt": "q", "chosen": "a", "rejected": "a "},
            "chosen and rejected are the same",
        ),
        ("preference", Ranking, {"chosen": "a", "rejected": "b"}, "no prompt beside"),
        (
            "preference",
            Ranking,
            {
                "chosen": [message(U, "q"), message(A, "a")],
                "rejected": [message(U, "p"), message(A, "b")],
            },
            "prompt differs between chosen and rejected",
        ),
        (
            "preference",
            Ranking,
            {"prompt": "p", "chosen": [message(U, "q"), message(A, "a")], "rejected": "b"},
            "does not begin with the prompt",
        ),
        (
            "hh",
            Ranking,
            {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: "},
            "empty final answer",
        ),
        (
            "hh",
            Ranking,
            {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: p\n\nAssistant: a"},
            "prompt differs",
        ),
        (
            "ranking",
            Ranking,
            {"prompt": "q", "completions": ["a", "b"], "ranks": [1, "2"]},
            "whole numbers",
        ),
        (
            "ranking",
            Ranking,
            {"prompt": "q", "completions": ["a", "b"]},
            "one of 'ranks', 'ranking'",
        ),
        (
            "ranking",
            Ranking,
            {"prompt": "q", "completions": ["a", "b"], "scores": [1, True]},
            "'scores' is not a list of numbers",
        ),
        ("records", Demonstration, {"prompt": [message(U, "q")], "completion": ""}, "empty final"),
        ("text", Document, {"text": "\n"}, "empty 'text'"),
        ("work", Document, {"paragraphs": [1, 2]}, "not text"),
        ("work", Document, {"paragraphs": []}, "no text"),
    ],
)
def test_odd_rows_are_refused_with_a_reason(name, kind, row, says):
    with pytest.raises(RowError, match=says):
        parse(name, kind, row)


KEYS = (
    "prompt", "completion", "completions", "ranks", "ranking", "chosen", "rejected", "instruction",
    "input", "output", "history", "system", "messages", "text", "content", "paragraphs", "label",
    "id", "user", "meta", "tools", "conversations", "instances", "turns", "scores", "question",
    "answer", "kto_tag", "chosen_messages", "rejected_messages",
)  # fmt: skip
VALUES = (
    None, True, 0, "", "q", [], {}, [1], ["a", "b"], [[0], [1]], [["q", "a"]], [None], [{}],
    [message(U, "q"), message(A, "a")], [message(U, "q")], [{"content": "x"}], {"role": "user"},
    "\n\nHuman: q\n\nAssistant: a", {"text": "q", "role": "prompter", "replies": [{}, 3]},
    [{"from": "human", "value": "q"}, {"from": "gpt", "value": ["a"], "weight": "1"}],
    [{"input": "", "output": "a"}], [{"response": "a", "annotations": {"x": {"Rating": "N/A"}}}],
)  # fmt: skip


def parse_or_refuse(parser, row):
    """The records, or none when the row is refused; any other exception is a bug."""
    try:
        return parser(row)
    except RowError:
        return []


@pytest.mark.parametrize("name", FORMATS)
def test_no_row_whatever_breaks_a_parser(name):
    """Rows of two arbitrary fields: a parser gives records of its kind, or a RowError."""
    shape = FORMATS[name]
    for (a, b), value, other in itertools.product(
        itertools.combinations(KEYS, 2), VALUES, VALUES[::3]
    ):
        row = {a: value, b: other}
        assert shape.matches(row) in (True, False)
        for kind, parser in shape.parsers.items():
            records = parse_or_refuse(parser, row)
            assert all(isinstance(record, kind | Omission) for record in records)


def test_junk_in_the_other_fields_of_a_good_row():
    """A row that has what the format needs, with any value in one further known field."""
    good = {
        "alpaca": {"instruction": "q", "output": "a"},
        "alpaca_ranking": {"instruction": "q", "output": ["a", "b"]},
        "prompt_completion": {"prompt": "q", "completion": "a"},
        "preference": {"prompt": "q", "chosen": "a", "rejected": "b"},
        "ranking": {"prompt": "q", "completions": ["a", "b"], "ranks": [1, 2]},
        "messages": {"messages": [message(U, "q"), message(A, "a")]},
        "sharegpt": {"conversations": [message(U, "q"), message(A, "a")]},
        "unpaired": {"prompt": "q", "completion": "a", "label": True},
        "self_instruct": {"instruction": "q", "instances": [{"input": "", "output": "a"}]},
        "turns": {"turns": ["q"]},
        "ultrafeedback": {"instruction": "q", "completions": RATED},
    }
    for name, row in good.items():
        for kind, parser in FORMATS[name].parsers.items():
            assert len(parser(row)) == 1
            for key, value in itertools.product(KEYS, VALUES):
                records = parse_or_refuse(parser, {**row, key: value})
                assert all(isinstance(record, kind | Omission) for record in records)
