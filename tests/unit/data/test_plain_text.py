from __future__ import annotations

import random
import re

import pytest

from instructgpt.data.plain_text import cut_documents, find_encoding, read_lines_of_text
from instructgpt.data.readers import load_documents
from instructgpt.errors import DataError


def cut(text, max_chars, by_blank_lines=True):
    return list(cut_documents(text.split("\n"), by_blank_lines=by_blank_lines, max_chars=max_chars))


def test_paragraphs_are_joined_up_to_the_size_and_never_cut():
    text = "\n\none\ntwo\n\n \t\nthree\n\n\u3000\nfour\n" + "\n" + "x" * 30 + "\n\nend\n\n"
    blocks = cut(text, max_chars=15)
    assert blocks == [(3, "one\ntwo\n\nthree"), (10, "four"), (12, "x" * 30), (14, "end")]
    assert cut(text, max_chars=14)[0] == (3, "one\ntwo\n\nthree")
    assert cut(text, max_chars=13)[0] == (3, "one\ntwo")


def test_without_blank_lines_each_line_is_a_paragraph(tmp_path):
    lines = [(1, "first"), (2, "second"), (3, "third")]
    assert cut("first\nsecond\nthird\n", max_chars=8, by_blank_lines=False) == lines
    path = tmp_path / "lines.txt"
    for text, documents in (
        ("a\nb\n\n", ["a\n\nb"]),
        ("\na\nb", ["a\nb"]),
        ("a\nb\n\nc", ["a\nb\n\nc"]),
    ):
        path.write_text(text)
        assert [d.text for d in load_documents(path).records] == documents


def test_no_text_is_lost_or_invented():
    random.seed(0)
    for _ in range(50):
        text = "".join(random.choices(["\n", "\n\n", "word ", "字", "。"], k=60))
        size = random.randint(1, 30)
        blocks = cut(text, max_chars=size)
        joined = "".join(block.text for block in blocks)
        assert re.sub(r"\s", "", joined) == re.sub(r"\s", "", text)
        for block in blocks:
            assert text.split("\n")[block.line - 1] == block.text.split("\n")[0]
            assert len(block.text) <= size or "\n\n" not in block.text


def test_bom_and_crlf_are_taken_off(tmp_path):
    path = tmp_path / "book.txt"
    path.write_bytes(b"\xef\xbb\xbfCaf\xc3\xa9\r\nline\rlast\r\n")
    encoding, remark = find_encoding(path)
    assert list(read_lines_of_text(path, encoding)) == ["Café", "line", "last"]
    assert remark is None


def test_western_legacy_text_is_read_and_remarked(tmp_path):
    path = tmp_path / "book.txt"
    path.write_bytes(b"plain\r\n\r\n\x93Caf\xe9\x94 costs \x80 5\r\n")
    loaded = load_documents(path)
    assert [d.text for d in loaded.records] == ["plain\n\n“Café” costs € 5"]
    assert [str(p) for p in loaded.problems] == [
        f"{path}: not UTF-8 (byte 0x93); read as Windows-1252"
    ]
    with pytest.raises(DataError, match="read as Windows-1252"):
        load_documents(path, on_problem="error")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("第一行\n红楼梦里人".encode("gb18030"), r"book\.txt:1: not UTF-8"),
        (b"text\nmore\x00\n", r"book\.txt:2: NUL byte"),
        ("text".encode("utf-16"), r"book\.txt:1: NUL byte"),
    ],
    ids=["gb18030", "nul", "utf16"],
)
def test_other_encodings_are_refused_rather_than_garbled(tmp_path, data, says):
    path = tmp_path / "book.txt"
    path.write_bytes(data)
    with pytest.raises(DataError, match=says):
        find_encoding(path)
