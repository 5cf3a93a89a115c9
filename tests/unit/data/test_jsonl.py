from __future__ import annotations

import gzip
import json

import pytest

from instructgpt.data.jsonl import read_jsonl, write_jsonl
from instructgpt.errors import DataError

ROWS = [{"text": "一行\u2028still the same line\u0085"}, {"text": 'tab\tquote"', "n": [1, None]}]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "new/folder/rows.jsonl"])
def test_what_is_written_is_read_with_line_numbers(tmp_path, name):
    path = tmp_path / name
    assert write_jsonl(path, ROWS) == 2
    assert list(read_jsonl(path)) == [(1, ROWS[0]), (2, ROWS[1])]


def test_files_are_plain_utf8_json_lines(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, ROWS)
    lines = path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert [json.loads(line) for line in lines] == ROWS
    assert "一行".encode() in lines[0]


def test_gzip_bytes_depend_on_the_rows_alone(tmp_path):
    write_jsonl(tmp_path / "a.jsonl.gz", ROWS)
    write_jsonl(tmp_path / "b.jsonl.gz", ROWS)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    assert len(gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()).splitlines()) == 2


def test_blank_lines_bom_and_crlf_are_read_over(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n{"a": 2}')
    assert list(read_jsonl(path)) == [(1, {"a": 1}), (4, {"a": 2})]


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, ROWS)

    def rows():
        yield {"text": "half"}
        raise KeyError("broken producer")

    with pytest.raises(KeyError):
        write_jsonl(path, rows())
    assert [row for _, row in read_jsonl(path)] == ROWS
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]


def test_nan_is_never_written(tmp_path):
    with pytest.raises(ValueError):
        write_jsonl(tmp_path / "rows.jsonl", [{"loss": float("nan")}])
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/rows\.jsonl: cannot write: "):
        write_jsonl(tmp_path / "file" / "rows.jsonl", ROWS)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'{"a": 1}\n{"a": \n', r":2: not JSON: Expecting value at column 6"),
        (b'{"a": 1}\n{"a": NaN}\n', r":2: not JSON: NaN is not a JSON number"),
        (b'{"a": "\x00"}\n', r":1: not JSON: Invalid control character"),
        (b'{"a": 1}\n\n{"a": "\xe9"}\n', r":3: not UTF-8 \(byte 0xE9\)"),
        (b'{"a": "\\ud83d"}\n', r":1: half a surrogate pair"),
        (b"[" * 100_000 + b"\n", r":1: not JSON"),
    ],
    ids=["broken", "nan", "nul", "latin1", "surrogate", "deep"],
)
def test_broken_lines_are_named(tmp_path, data, says):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"rows\.jsonl" + says) as error:
        list(read_jsonl(path))
    assert "\n" not in str(error.value)


def test_a_whole_surrogate_pair_is_one_character(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": "\\ud83d\\ude00"}\n')
    assert list(read_jsonl(path)) == [(1, {"a": "😀"})]


def test_missing_files_and_broken_gzip(tmp_path):
    with pytest.raises(DataError, match=r"gone\.jsonl: no such file"):
        list(read_jsonl(tmp_path / "gone.jsonl"))
    with pytest.raises(DataError, match=r"cannot read: Is a directory"):
        list(read_jsonl(tmp_path))
    packed = gzip.compress(b'{"a": 1}\n' * 100)
    (tmp_path / "cut.jsonl.gz").write_bytes(packed[:-9])
    (tmp_path / "fake.jsonl.gz").write_bytes(b'{"a": 1}\n')
    for name in ("cut.jsonl.gz", "fake.jsonl.gz"):
        with pytest.raises(DataError, match=rf"{name}: broken gzip file"):
            list(read_jsonl(tmp_path / name))
