"""The files that people really bring; counts checked by hand with other tools."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from instructgpt.data.readers import (
    load_demonstrations,
    load_documents,
    load_prompts,
    load_rankings,
)
from instructgpt.data.splits import contamination
from instructgpt.errors import DataError


@pytest.mark.parametrize(
    ("name", "load", "format", "count", "left_out"),
    [
        (
            "sft_en/stanford_alpaca/alpaca_5000.json",
            load_demonstrations,
            "alpaca",
            4998,
            {2336: "empty 'output'", 4659: "empty 'output'"},
        ),
        ("sft_en/llamafactory/alpaca_en_demo.json", load_demonstrations, "alpaca", 999, {}),
        ("sft_en/llamafactory/identity.json", load_demonstrations, "alpaca", 91, {}),
        (
            "sft_en/openai_cookbook/toy_chat_fine_tuning.jsonl",
            load_demonstrations,
            "messages",
            7,
            dict.fromkeys((4, 9, 10), "no user turn"),
        ),
        ("sft_zh/llamafactory/alpaca_zh_demo.json", load_demonstrations, "alpaca", 1000, {}),
        (
            "sft_zh/chatglm_efficient_tuning/oaast_sft_zh.json",
            load_demonstrations,
            "alpaca",
            689,
            {},
        ),
        (
            "sft_zh/chatglm_efficient_tuning/self_cognition.json",
            load_demonstrations,
            "alpaca",
            80,
            {},
        ),
        ("sft_en/fastchat/dummy_conversation.json", load_demonstrations, "sharegpt", 500, {}),
        ("sft_en/llamafactory/v1_sft_demo.jsonl", load_demonstrations, "messages", 500, {}),
        ("sft_en/stanford_alpaca/seed_tasks.jsonl", load_demonstrations, "self_instruct", 175, {}),
        (
            "sft_en/self_instruct/user_oriented_instructions.jsonl",
            load_demonstrations,
            "self_instruct",
            252,
            {},
        ),
        ("sft_zh/belle/zh_seed_tasks.json", load_demonstrations, "self_instruct", 175, {}),
        ("pref/llamafactory/dpo_en_demo.json", load_rankings, "preference", 300, {}),
        ("pref/llamafactory/dpo_zh_demo.json", load_rankings, "preference", 300, {}),
        ("pref/llamafactory/v1_dpo_demo.jsonl", load_rankings, "preference", 10, {}),
        ("pref/llamafactory/kto_en_demo.json", load_prompts, "unpaired", 300, {}),
        ("eval/gsm8k/test.jsonl", load_demonstrations, "prompt_completion", 1319, {}),
        ("eval/mt_bench/question.jsonl", load_prompts, "turns", 80, {}),
        ("eval/vicuna_bench/question.jsonl", load_prompts, "turns", 80, {}),
        ("pretrain_en/llamafactory/c4_demo.jsonl", load_documents, "records", 300, {}),
        ("prompts/instructionwild/seed_prompts_ch.jsonl", load_prompts, "alpaca", 429, {}),
        ("prompts/instructionwild/user_1.jsonl", load_prompts, "alpaca", 429, {}),
        ("prompts/arena_hard/question.jsonl", load_prompts, "prompt", 500, {}),
        ("eval/ifeval/input_data.jsonl", load_prompts, "prompt", 541, {}),
        (
            "pref/hh_rlhf/harmless-base/test.jsonl.gz",
            load_rankings,
            "hh",
            2299,
            {
                **dict.fromkeys((87, 517, 926, 1104), "empty final answer"),
                **dict.fromkeys(
                    (1255, 1689, 1951, 1953, 2037), "prompt differs between chosen and rejected"
                ),
                668: "turn 5 is 'assistant' where 'user' should speak",
                764: "turn 3 is 'assistant' where 'user' should speak",
                1320: "turn 9 is 'assistant' where 'user' should speak",
                1850: "turn 5 is 'assistant' where 'user' should speak",
            },
        ),
        (
            "pref/chatglm_efficient_tuning/oaast_rm_zh.json",
            load_rankings,
            "alpaca_ranking",
            769,
            dict.fromkeys((145, 300, 312, 313, 592, 769), "duplicate answers in one ranking"),
        ),
    ],
    ids=lambda value: value.rsplit("/", 1)[-1] if isinstance(value, str) and "/" in value else None,
)
def test_counts_and_named_problems(real_data, name, load, format, count, left_out):
    loaded = load(real_data / name)
    assert loaded.format == format
    assert len(loaded.records) == count
    assert {problem.row: problem.reason for problem in loaded.problems} == left_out


def test_every_file_of_the_manifest_has_a_test_here(real_data):
    manifest = (real_data / "MANIFEST.md").read_text(encoding="utf-8")
    names = re.findall(r"^\| (\w+/\S+) \|", manifest, re.MULTILINE)
    assert len(names) > 50
    here = Path(__file__).read_text(encoding="utf-8")
    folders = ("pretrain_en/", "pretrain_zh/")  # read whole below
    assert [name for name in names if name not in here and not name.startswith(folders)] == []


def test_rankings_keep_their_k(real_data):
    loaded = load_rankings(real_data / "pref/chatglm_efficient_tuning/oaast_rm_zh.json")
    sizes = [len(ranking.completions) for ranking in loaded.records]
    assert (min(sizes), max(sizes)) == (2, 10)
    assert any(len(ranking.prompt.messages) > 1 for ranking in loaded.records)


def test_trees_with_missing_ranks(real_data):
    """212 user turns have two ranked replies or more, 40 have one; two have replies without rank.

    Counted with a walk over the JSON.
    """
    path = real_data / "pref/open_assistant/en_100_tree.jsonl"
    rankings = load_rankings(path)
    assert (rankings.format, len(rankings.records)) == ("open_assistant", 212)
    assert {problem.row for problem in rankings.problems} == {59, 70}
    assert rankings.problem_lines()[0].endswith("(59, 70): a reply without a rank")
    assert len(load_demonstrations(path).records) == 252
    assert len(load_prompts(path).records) == 480


def test_good_and_bad_answers(real_data):
    loaded = load_demonstrations(real_data / "pref/llamafactory/kto_en_demo.json")
    assert (len(loaded.records), len(loaded.problems)) == (150, 150)
    assert {problem.reason for problem in loaded.problems} == {
        "labelled bad, so nothing to imitate"
    }


def test_tables_with_columns_by_name_and_by_number(real_data):
    columns = {"prompt": "Question", "completion": "Best Answer"}
    loaded = load_demonstrations(real_data / "eval/truthfulqa/TruthfulQA.csv", columns=columns)
    assert (len(loaded.records), loaded.problems) == (817, [])
    # what a table library would read as missing is what somebody wrote
    assert "N/A" in {value for one in loaded.records for value in one.prompt.meta.values()}
    loaded = load_demonstrations(
        real_data / "eval/csl/ts/test.tsv", columns={"prompt": "2", "completion": "3"}
    )
    assert (len(loaded.records), loaded.problems) == (1000, [])
    assert sum('"' in one.prompt.text + one.completion for one in loaded.records) >= 100


def test_a_line_of_a_hundred_thousand_characters(real_data):
    loaded = load_documents(real_data / "pretrain_en/llamafactory/wiki_demo.txt")
    assert len(loaded.records) == 30
    assert max(len(document.text) for document in loaded.records) == 109_672


def test_two_sets_of_one_source_share_prompts(real_data):
    folder = real_data
    train = load_demonstrations(folder / "sft_zh/chatglm_efficient_tuning/oaast_sft_zh.json")
    heldout = load_prompts(folder / "pref/chatglm_efficient_tuning/oaast_rm_zh.json")
    assert len(heldout.records) == 775
    assert len(contamination(train.records, heldout.records).indices) == 327


def test_books_of_every_encoding(real_data):
    loaded = load_documents(real_data / "pretrain_en")
    guessed = {problem.file.rsplit("/", 1)[-1] for problem in loaded.problems}
    assert guessed == {"1661-8.txt", "3300-8.txt"}
    text = "\n".join(document.text for document in loaded.records)
    assert "\r" not in text
    assert "\ufeff" not in text[:1000]
    # 7.6 million characters in all, less blank lines and line ends
    assert 7_000_000 < len(text) < 9_500_000
    assert "Call me Ishmael." in text


def test_chinese_novels_and_poems(real_data):
    loaded = load_documents(real_data / "pretrain_zh")
    assert loaded.problems == []
    assert loaded.format == "work+text"
    text = "\n".join(document.text for document in loaded.records)
    assert "子曰：“学而时习之，不亦说乎？" in text
    assert "话说" in text


@pytest.mark.parametrize(
    ("name", "load", "says"),
    [
        ("pref/llamafactory/kto_en_demo.json", load_rankings, "(format unpaired), not rankings"),
        (
            "sft_en/openai_cookbook/weather_chat_fine_tuning.jsonl",
            load_demonstrations,
            "conversations with tools",
        ),
        ("eval/truthfulqa/TruthfulQA.csv", load_prompts, "rename keys with columns"),
        ("eval/csl/ts/test.tsv", load_demonstrations, "found: to title, "),
        ("eval/wmt22/generaltest2022.en-zh.src.en", load_documents, "cannot read '.en'"),
        ("eval/wmt22/generaltest2022.en-zh.ref.A.zh", load_documents, "cannot read '.zh'"),
        ("eval/wmt22/generaltest2022.en-zh.ref.B.zh", load_documents, "cannot read '.zh'"),
        ("eval/wmt22/generaltest2022.zh-en.src.zh", load_documents, "cannot read '.zh'"),
        ("eval/wmt22/generaltest2022.zh-en.ref.A.en", load_documents, "cannot read '.en'"),
        ("eval/wmt22/generaltest2022.zh-en.ref.B.en", load_documents, "cannot read '.en'"),
    ],
)
def test_what_is_not_understood_is_said(real_data, name, load, says):
    with pytest.raises(DataError) as error:
        load(real_data / name)
    assert says in str(error.value)
