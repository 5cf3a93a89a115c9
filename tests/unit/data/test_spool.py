"""Sequences that hold nothing: as the lists that they stand for, and nothing is left of them."""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from instructgpt.data.digests import first_of_equals, gather, hexadecimal
from instructgpt.data.hygiene.postings import Postings
from instructgpt.data.records import Prompt, Ranking
from instructgpt.data.spool import Chosen, Mapped, Spool
from instructgpt.errors import RunDirError


def test_a_spool_is_the_list_of_what_was_put_in(tmp_path: Path) -> None:
    # None and "" are both left out of a record's JSON form; here they stay apart
    ranking = Ranking(Prompt.from_text("猫?", user="", meta={"a": [1.5]}), ("x", "y"), (1, 1), None)
    values = [3, "two", ranking, Ranking(ranking.prompt, ("x", "y"), (1, 1), "")]
    spool = Spool(values, tmp_path)
    assert list(spool) == values
    assert spool[2].prompt.user == ""
    assert (spool[-1].labeler, len(spool), spool[1:3]) == ("", 4, values[1:3])
    with pytest.raises(IndexError):
        spool[4]
    assert list(tmp_path.iterdir()) == []


def test_what_is_cut_off_is_written_over() -> None:
    spool = Spool(["a", "b" * 9000, "c"])
    assert spool[1] == "b" * 9000
    spool.truncate(1)
    spool.append("d")
    assert list(spool) == ["a", "d"]


def test_views_look_up_and_make_when_asked() -> None:
    asked: list[int] = []

    def double(value: int) -> int:
        asked.append(value)
        return 2 * value

    doubled = Mapped(double, Chosen([10, 20, 30, 40], np.array([3, 1, 1])))
    assert (len(doubled), asked) == (3, [])
    assert (doubled[0], list(doubled), doubled[1:]) == (80, [80, 40, 40], [40, 40])
    assert asked == [40, 40, 20, 20, 20, 20]


def test_digests_with_zeros_at_their_end_keep_them() -> None:
    digests = [bytes([2] * 30 + [0, 0]), bytes([1] * 32), bytes([2] * 30 + [0, 1]), bytes(32)]
    made = gather(iter([*digests, digests[0], digests[3]]))
    assert list(map(hexadecimal, made[:4])) == [digest.hex() for digest in digests]
    assert first_of_equals(made).tolist() == [0, 1, 2, 3, 0, 3]
    assert first_of_equals(gather([])).tolist() == []


def test_postings_have_no_name_on_disk(tmp_path: Path) -> None:
    postings = Postings(tmp_path)
    for text in range(3000):  # more than fits into the cache of a page
        postings.add(text, [text % 7, -text - 1])
    assert postings.texts([3, -2999]) == {*range(3, 3000, 7), 2998}
    assert postings.texts([99]) == set()
    assert list(tmp_path.iterdir()) == []
    del postings
    gc.collect()


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The kernel refuses to let any file of this process grow beyond it: a real failed write."""
    resource = pytest.importorskip("resource", reason="no limits on files here")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_one_line_and_closing_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ended in a traceback; what a buffer still held was one more when the file was closed."""
    monkeypatch.setattr("instructgpt.data.hygiene.postings._CACHE_KIB", 8)
    spool, postings = Spool(folder=tmp_path), Postings(tmp_path)
    with files_of_at_most(100_000):
        with pytest.raises(RunDirError, match=f"write '{tmp_path}': File too large .*MB free"):
            spool.append("x" * 200_000)
        with pytest.raises(RunDirError, match=f"write '{tmp_path}': Input/output error"):
            postings.add(0, range(100_000))
        del spool, postings
        gc.collect()  # pytest makes errors of what it would print


@pytest.mark.parametrize("make", [Spool, Postings])
def test_a_forbidden_folder_is_one_line(tmp_path: Path, make, monkeypatch) -> None:
    def refuse(*_arguments: object, **_settings: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("instructgpt.data.spool.TemporaryFile", refuse)
    monkeypatch.setattr("instructgpt.data.hygiene.postings.TemporaryDirectory", refuse)
    with pytest.raises(RunDirError, match=f"write '{tmp_path}': Permission denied; check"):
        make(folder=tmp_path)
