"""Files as people really have them: read row by row, and named where they are refused."""

from __future__ import annotations

import csv
import datetime
import gzip
import json
import random
import sys
from types import ModuleType

import pytest

from instructgpt.data import json_list
from instructgpt.data.jsonl import BrokenRow
from instructgpt.data.problems import collect_problems
from instructgpt.data.readers import (
    Found,
    load_demonstrations,
    load_documents,
    load_prompts,
    load_rankings,
    open_parts,
)
from instructgpt.data.records import Demonstration, Prompt
from instructgpt.data.source import open_sources
from instructgpt.errors import DataError, InstructGPTError

GOOD = {"prompt": "q", "completion": "a"}


def texts(demonstrations):
    return [(d.prompt.text, d.completion) for d in demonstrations]


def rows_of(path, **options):
    [source] = open_sources(path, **options)
    return list(source.rows)


@pytest.mark.parametrize("window", [1, 7, 64, 1 << 20])
def test_a_list_is_read_the_same_through_any_window(tmp_path, monkeypatch, window):
    monkeypatch.setattr(json_list, "WINDOW", window)
    path = tmp_path / "rows.json"
    rows = [
        {"text": '一\u2028b\u0085 "quoted" \\ 😀', "n": [1, -2.5e3, None, True, {"x": []}]},
        "[not a list]",
        12345678,
        {},
        {"long": "x" * 300},
    ]
    for ascii_only in (True, False):
        for indent in (None, 2):
            text = json.dumps(rows, indent=indent, ensure_ascii=ascii_only)
            path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() + b"\r\n ")
            assert rows_of(path) == list(enumerate(rows, start=1))


@pytest.mark.parametrize("window", [1, 1 << 20])
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[{"a": 1},\n {"a": 2]', r":2: not JSON: Expecting ',' delimiter at column 9"),
        ('[{"a": 1}\n {"a": 2}]', r":2: not JSON: Expecting ',' delimiter at column 2"),
        ('[{"a": 1},\n]', r":2: not JSON: Expecting value at column 1"),
        ('[{"a": 1},\n {"a": "x}]', r":2: not JSON: Unterminated string starting at at column 8"),
        ('[{"a": 1},\n', r":2: not JSON: Expecting value at column 1"),
        ('[{"a": 1}', r":1: not JSON: Expecting ',' delimiter at column 10"),
        ('[{"a": 1}] x', r":1: not JSON: Extra data at column 12"),
        ('[{"a": "\x00"}]', r":1: not JSON: Invalid control character at at column 9"),
        (b'[{"a": 1},\n{"a": "\xe9\xe9"}]', r":2: not UTF-8 \(byte 0xE9\)"),
    ],
)
def test_a_list_that_is_no_json_is_refused_where_it_breaks(
    tmp_path, monkeypatch, window, text, says
):
    monkeypatch.setattr(json_list, "WINDOW", window)
    path = tmp_path / "rows.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=r"rows\.json" + says):
        rows_of(path)


def test_what_json_has_no_word_for_breaks_one_row_of_a_list(tmp_path):
    path = tmp_path / "rows.json"
    half = json.dumps({"prompt": "\ud83d", "completion": "a"})
    path.write_text(f'[{json.dumps(GOOD)}, {{"prompt": "q", "score": NaN}},\n{half}]')
    with pytest.raises(DataError, match=r"rows\.json:2: not JSON: NaN .*--on-problem skip_broken"):
        load_demonstrations(path)
    loaded = load_demonstrations(path, on_problem="skip_broken")
    assert texts(loaded.records) == [("q", "a")]
    assert [(problem.row, problem.reason) for problem in loaded.problems] == [
        (2, "not JSON: NaN is not a JSON number; write null"),
        (3, "half a surrogate pair (\\uD8xx) in a string"),
    ]


def test_broken_lines_stop_the_reading_unless_they_are_to_be_skipped(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    good = json.dumps(GOOD).encode()
    lines = [good, b'{"prompt": "q', b'{"prompt": "\xff"}', b'{"p": "\x00"}', b'{"p": NaN}', good]
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    with pytest.raises(DataError, match=r"rows\.jsonl\.gz:2: not JSON: Unterminated string"):
        load_demonstrations(path)
    loaded = load_demonstrations(path, on_problem="skip_broken")
    assert len(loaded.records) == 2
    assert [problem.row for problem in loaded.problems] == [2, 3, 4, 5]
    with pytest.raises(DataError, match=r":2: not JSON"):
        load_demonstrations(path, on_problem="error")


def test_a_row_is_asked_for_before_the_next_one_is_read(tmp_path):
    """The first row of a file whose second one is broken: nothing is read ahead of need."""
    for name, text in (("rows.jsonl", '{"text": "x"}\n' * 300 + "{"),):
        path = tmp_path / name
        path.write_text(text)
        [source] = open_sources(path)
        for _ in range(300):
            assert next(source.rows)[1] == {"text": "x"}
        assert isinstance(next(source.rows)[1], BrokenRow)


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.csv.gz", "rows.tsv.gz"])
def test_cells_of_a_table_are_the_text_that_stands_there(tmp_path, name):
    rows = [("007", "N/A"), ("null", "1e5"), ("true", " padded "), ("一\u2028b", 'say "hi"')]
    tabs = ".tsv" in name
    lines = ["prompt\tcompletion", *("\t".join(row) for row in rows)]
    if not tabs:
        lines = ["prompt,completion", *(f'{p},"{c}"' for p, c in rows[:3])]
        lines.append('一\u2028b,"say ""hi"""')
    data = b"\xef\xbb\xbf" + "\r\n".join(lines).encode() + b"\r\n\r\n"
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert texts(load_demonstrations(path).records) == rows


def test_tables_name_a_broken_row_by_the_line_on_which_it_begins(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('prompt,completion\n"two\nlines",a\nq\nq,a,x\n"q" x,a\nq,a\n')
    loaded = load_demonstrations(path, on_problem="skip_broken")
    assert texts(loaded.records) == [("two\nlines", "a"), ("q", "a")]
    assert [(problem.row, problem.reason) for problem in loaded.problems] == [
        (4, "1 cells where there are 2 columns"),
        (5, "3 cells where there are 2 columns"),
        (6, "not CSV: ',' expected after '\"'"),
    ]


def test_tables_survive_long_cells_and_refuse_what_is_no_text(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("prompt,completion\nq," + "x" * 200_000)
    assert len(load_demonstrations(path).records[0].completion) == 200_000
    path.write_bytes(b"prompt,completion\nq,caf\xe9 and more text\n")
    loaded = load_demonstrations(path)
    assert texts(loaded.records) == [("q", "café and more text")]
    assert [str(p) for p in loaded.problems] == [
        f"{path}: not UTF-8 (byte 0xE9); read as Windows-1252"
    ]
    path.write_text("prompt,completion,prompt\nq,a,q\n")
    with pytest.raises(DataError, match="two columns are called 'prompt'"):
        load_demonstrations(path)
    path.write_bytes(b"prompt,completion\nq\0,a\n")
    with pytest.raises(DataError, match=r"rows\.csv:2: NUL byte"):
        load_demonstrations(path)


def test_csv_agrees_with_the_writer_of_the_standard_library(tmp_path):
    random.seed(0)
    alphabet = ["a", "字", '"', ",", "\n", "\t", " ", "'", "\\", "\u2028"]
    rows = [["".join(random.choices(alphabet, k=6)) for _ in range(3)] for _ in range(200)]
    path = tmp_path / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["x", "y", "z"], *rows])
    assert [list(row.values()) for _, row in rows_of(path)] == rows


def test_columns_are_renamed_before_the_format_is_told(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"ask": "q", "reply": "a", "prompt": "old"}\n{"ask": "r", "reply": "b"}\n')
    columns = {"prompt": "ask", "completion": "reply"}
    loaded = load_demonstrations(path, columns=columns)
    assert (texts(loaded.records), loaded.format) == ([("q", "a"), ("r", "b")], "prompt_completion")
    with pytest.raises(DataError, match=r"no column 'replay'; did you mean 'reply'\?"):
        load_demonstrations(path, columns={"prompt": "ask", "completion": "replay"})
    table = tmp_path / "rows.tsv"
    table.write_text('q\t"\tx\nr\tb\ty\n')
    loaded = load_demonstrations(table, columns={"prompt": "1", "completion": "2"})
    assert texts(loaded.records) == [("q", '"'), ("r", "b")]


def test_parquet_rows_are_what_they_are_in_json(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="the extra `parquet` brings it")
    from pyarrow import parquet

    when = datetime.datetime(2026, 1, 2, 3, 4)
    rows = [
        {
            "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
            "score": float("nan"),
            "when": when,
            "image": b"\x89PNG",
        }
    ] * 600
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=100)
    loaded = load_demonstrations(path)
    assert texts(loaded.records) == [("q", "a")] * 600
    assert loaded.records[0].prompt.meta == {"score": None, "when": "2026-01-02T03:04:00"}
    assert [str(p) for p in loaded.problems] == [f"{path}: columns of bytes not read: image"]
    path.write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"rows\.parquet: not a Parquet file"):
        load_demonstrations(path)
    with pytest.raises(DataError, match="no such file"):
        load_demonstrations(tmp_path / "gone.parquet")


def test_parquet_without_its_package_says_how_to_get_it(tmp_path, monkeypatch):
    (tmp_path / "rows.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InstructGPTError, match=r"pip install 'instructgpt\[parquet\]'"):
        load_demonstrations(tmp_path / "rows.parquet")


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for `datasets`: records how it was called, and serves two rows, then fails."""
    calls = []
    module = ModuleType("datasets")

    def load_dataset(name, configuration, **options):
        calls.append((name, configuration, options))
        if name == "nobody/nothing":
            raise FileNotFoundError("Dataset 'nobody/nothing' doesn't exist\non the Hub")
        return (
            {"question": f"q{i}", "answer": "a", "when": datetime.date(2026, 1, 1)} for i in (1, 2)
        )

    module.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)
    return calls


def test_datasets_of_the_hub_are_streamed(hub):
    loaded = load_demonstrations("hf:openai/gsm8k/main@abc:train[:10]")
    assert texts(loaded.records) == [("q1", "a"), ("q2", "a")]
    assert loaded.records[0].prompt.meta == {"when": "2026-01-01"}
    options = {"split": "train[:10]", "revision": "abc", "streaming": True}
    assert hub == [("openai/gsm8k", "main", options)]
    load_prompts("hf:owner/name")
    assert hub[1] == ("owner/name", None, {**options, "split": "train", "revision": None})
    with pytest.raises(DataError, match="hf:nobody/nothing: cannot read at the beginning: Dataset"):
        load_demonstrations("hf:nobody/nothing")
    with pytest.raises(DataError, match="write hf:owner/name"):
        load_demonstrations("hf:a/b/c/d")


def test_the_library_itself_streams_what_lies_in_a_folder(tmp_path, monkeypatch):
    """`datasets` takes owner/name for a folder where there is one, so that no hub is needed."""
    pytest.importorskip("datasets", reason="pip install datasets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    rows = [{"instruction": f"q{i}", "input": "", "output": "a"} for i in range(3)]
    for split in ("train", "test"):
        lines = [json.dumps({**row, "output": split}) for row in rows]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    for address, split in (("hf:owner/name", "train"), ("hf:owner/name:test", "test")):
        loaded = load_demonstrations(address)
        assert texts(loaded.records) == [(f"q{i}", split) for i in range(3)]
        assert loaded.format == "alpaca"
    with pytest.raises(DataError, match=r"hf:owner/name:other: cannot read at the beginning: "):
        load_demonstrations("hf:owner/name:other")
    with pytest.raises(DataError, match=r"hf:nobody/nothing: cannot read at the beginning: "):
        load_demonstrations("hf:nobody/nothing")


def test_the_hub_without_its_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InstructGPTError, match=r"pip install 'instructgpt\[hub\]'"):
        load_demonstrations("hf:owner/name")


def test_parts_give_the_row_of_every_record(tmp_path):
    (tmp_path / "a.jsonl").write_text(f"\n{json.dumps(GOOD)}\n{json.dumps(GOOD)}\n")
    (tmp_path / "b.csv").write_text("question,answer\nq,a\n")
    parts = list(open_parts(tmp_path, Demonstration))
    assert [part.format.name for part in parts] == ["prompt_completion"] * 2
    record = Demonstration(Prompt.from_text("q"), "a")
    assert [list(part) for part in parts] == [
        [Found(2, record), Found(3, record)],
        [Found(2, record)],
    ]


def test_collected_problems_count_rows_once_and_parts_not_at_all(tmp_path):
    tasks = [
        {"instruction": "q", "instances": [{"output": "a"}, {"output": ""}]},
        {"instruction": "q", "instances": []},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, tasks)))
    with collect_problems() as collected:
        load_demonstrations(path)
        load_demonstrations(path)
    load_demonstrations(path)
    assert collected.rows_left_out == 1
    assert collected.lines() == [
        f"{path}: part of 1 row left out (1): an instance: empty 'output'",
        f"{path}: 1 row left out (2): empty 'instances'",
    ]


def test_text_of_any_length_on_one_line(tmp_path):
    path = tmp_path / "wiki.txt"
    path.write_text("x" * 100_000 + "\n" + "字" * 100_000)
    assert [len(d.text) for d in load_documents(path).records] == [100_000, 100_000]


def test_rankings_from_a_table_are_refused_rather_than_guessed_at(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('prompt,completions,ranks\nq,"[""a"", ""b""]","[1, 2]"\n')
    with pytest.raises(DataError, match=r"holds prompts \(format prompt\), not rankings"):
        load_rankings(path)
