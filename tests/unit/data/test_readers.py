from __future__ import annotations

import json
import logging

import pytest

from instructgpt.data.jsonl import write_jsonl
from instructgpt.data.readers import (
    Problem,
    load_demonstrations,
    load_documents,
    load_prompts,
    load_rankings,
    parse_demonstrations,
)
from instructgpt.data.records import Demonstration, Prompt
from instructgpt.errors import DataError

GOOD = {"instruction": "q", "input": "", "output": "a"}
EMPTY = {"instruction": "q", "input": "", "output": ""}


def texts(demonstrations):
    return [(d.prompt.text, d.completion) for d in demonstrations]


@pytest.mark.parametrize(
    ("row", "load", "format"),
    [
        (GOOD, load_demonstrations, "alpaca"),
        ({"instruction": "q"}, load_prompts, "alpaca"),
        ({**GOOD, "output": ["a", "b"]}, load_rankings, "alpaca_ranking"),
        ({"prompt": "q", "completion": "a"}, load_demonstrations, "prompt_completion"),
        ({"prompt": "q", "completion": "a", "text": "q a"}, load_documents, "text"),
        ({"prompt": "q"}, load_prompts, "prompt"),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, load_rankings, "preference"),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, load_prompts, "preference"),
        (
            {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
            load_rankings,
            "hh",
        ),
        ({"prompt": "q", "completions": ["a", "b"], "ranks": [1, 1]}, load_rankings, "ranking"),
        (
            {
                "messages": [
                    {"role": "user", "content": "q"},
                    {"role": "assistant", "content": "a"},
                ]
            },
            load_demonstrations,
            "messages",
        ),
        ({"prompt": [{"role": "user", "content": "q"}]}, load_prompts, "records"),
        (
            {"prompt": [{"role": "user", "content": "q"}], "completion": "a", "source": "x"},
            load_demonstrations,
            "prompt_completion",
        ),
        ({"text": "once"}, load_documents, "records"),
        ({"text": "once", "url": "u"}, load_documents, "text"),
        ({"title": "t", "paragraphs": ["p"]}, load_documents, "work"),
    ],
)
def test_the_format_is_told_from_the_keys(tmp_path, row, load, format):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [row])
    loaded = load(path)
    assert loaded.format == format
    assert len(loaded.records) == 1
    assert loaded.problems == []
    assert load(path, format=format).records == loaded.records


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_lists_and_lines_packed_or_not(tmp_path, suffix, as_list, packed):
    rows = [GOOD, {**GOOD, "output": "一\u2028b"}]
    text = json.dumps(rows, indent=1) if as_list else "\n".join(map(json.dumps, rows))
    path = tmp_path / (f"rows{suffix}" + (".gz" if packed else ""))
    if packed:
        import gzip

        path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.encode()))
    else:
        path.write_bytes(text.encode())
    if suffix == ".jsonl" and as_list:
        with pytest.raises(DataError, match=r"rows\.jsonl(\.gz)?:1: not JSON"):
            load_demonstrations(path)
    else:
        assert texts(load_demonstrations(path).records) == [("q", "a"), ("q", "一\u2028b")]


def test_a_single_json_object_is_one_row(tmp_path):
    (tmp_path / "one.json").write_text(json.dumps(GOOD, indent=2))
    assert len(load_demonstrations(tmp_path / "one.json").records) == 1


def test_problems_are_named_by_row_counted_and_logged(tmp_path, caplog):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, [GOOD, EMPTY, GOOD, [1], EMPTY])))
    with caplog.at_level(logging.WARNING):
        loaded = load_demonstrations(path)
    assert texts(loaded.records) == [("q", "a")] * 2
    assert loaded.problems == [
        Problem(str(path), 2, "empty 'output'"),
        Problem(str(path), 4, "not an object"),
        Problem(str(path), 5, "empty 'output'"),
    ]
    assert loaded.problem_lines() == caplog.messages
    assert caplog.messages == [
        f"{path}: 2 rows left out (2, 5): empty 'output'",
        f"{path}: 1 row left out (4): not an object",
    ]


def test_problems_can_be_errors(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([GOOD, EMPTY, EMPTY]))
    with pytest.raises(DataError, match=r"rows\.json:2: empty 'output' \(and 1 more problems\)"):
        load_demonstrations(path, on_problem="error")


def test_a_file_without_one_usable_row_is_an_error(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([EMPTY]))
    with pytest.raises(DataError, match=r"rows\.json:1: empty 'output'; no row .* demonstrations"):
        load_demonstrations(path)


def test_the_majority_of_rows_decides_the_format(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"prompt": "q", "completion": "a"}, GOOD, GOOD])
    loaded = load_demonstrations(path)
    assert (loaded.format, len(loaded.records)) == ("alpaca", 2)
    assert loaded.problems == [Problem(str(path), 1, "no 'instruction'")]


def test_folders_are_read_in_name_order_with_a_format_per_file(tmp_path):
    (tmp_path / "b").mkdir()
    write_jsonl(tmp_path / "b" / "2.jsonl", [{"text": "two", "url": "u"}])
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "README.md").write_text("# no data")
    (tmp_path / ".hidden.txt").write_text("no data")
    loaded = load_documents(tmp_path)
    assert [d.text for d in loaded.records] == ["one", "two"]
    assert loaded.format == "text"
    assert loaded.records[0].meta == {"file": "a.txt", "line": 1}


def test_prompts_can_come_from_any_file_that_has_them(tmp_path):
    demonstration = Demonstration(Prompt.from_text("q", id="7", user="u"), "a")
    write_jsonl(tmp_path / "rows.jsonl", [demonstration.to_dict()])
    assert load_prompts(tmp_path / "rows.jsonl").records == [demonstration.prompt]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("gone.jsonl", None, "no such file"),
        ("empty.jsonl", "", "empty file"),
        ("blank.json", " \n", "empty file"),
        ("blank.txt", " \n\n", "empty file"),
        ("list.json", "[]", "empty file"),
        ("broken.json", '[{"a": 1},\n {"a": }]', r":2: not JSON: Expecting value at column 8"),
        ("number.json", "3", "rows of no known shape .found: no JSON object."),
        (
            "other.jsonl",
            '{"x": 1, "y": 2}',
            r"no known shape .found: x, y.; .*demonstrations can be",
        ),
        ("rank.jsonl", '{"prompt": "q", "chosen": "a", "rejected": "b"}', "holds prompts and rank"),
        ("text.txt", "once", "holds documents .format text., not demonstrations"),
        ("table.xls", "a,b", r"cannot read '\.xls'; known are \.jsonl"),
    ],
)
def test_files_that_cannot_be_used_are_one_clear_line(tmp_path, name, content, says):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=says) as error:
        load_demonstrations(path)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_an_empty_folder_and_an_unknown_format(tmp_path):
    with pytest.raises(DataError, match=r"no \.jsonl, .* file in this folder"):
        load_documents(tmp_path)
    write_jsonl(tmp_path / "rows.jsonl", [GOOD])
    with pytest.raises(DataError, match="no data format 'alpacca'; did you mean 'alpaca'"):
        load_demonstrations(tmp_path, format="alpacca")
    with pytest.raises(DataError, match="1: no 'completion'"):
        load_demonstrations(tmp_path, format="prompt_completion")


def test_rows_in_memory_may_mix_records_and_mappings():
    record = Demonstration(Prompt.from_text("r"), "b")
    assert texts(parse_demonstrations([GOOD, record])) == [("q", "a"), ("r", "b")]
    assert parse_demonstrations([record]) == [record]
    with pytest.raises(DataError, match="demonstrations:3: empty 'output'"):
        parse_demonstrations([GOOD, record, EMPTY])
    with pytest.raises(DataError, match="demonstrations: no rows"):
        parse_demonstrations([])
    with pytest.raises(DataError, match="rows of no known shape"):
        parse_demonstrations([{"question": "q"}])
