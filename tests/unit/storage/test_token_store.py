"""Token sequences in files: the same as in a list, and not in memory."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from instructgpt.errors import RunDirError
from instructgpt.storage.token_store import TokenSequence, TokenStore, write_tokens


def sequences(count: int, seed: int = 0) -> Iterator[TokenSequence]:
    draw = random.Random(seed)
    for _ in range(count):
        length = draw.randrange(300)
        ids = [draw.choice([0, 1, 255, 256, 65_536, 2**31 - 1]) for _ in range(length)]
        yield ids, [draw.random() < 0.5 for _ in range(length)]


def test_a_store_is_the_list_that_was_written(tmp_path: Path) -> None:
    wanted = list(sequences(50))
    write_tokens(tmp_path, iter(wanted))
    store = TokenStore(tmp_path)
    assert len(store) == 50
    assert list(store) == wanted
    assert store[-1] == wanted[-1]
    assert store[3:7] == wanted[3:7]
    assert store.lengths.tolist() == [len(ids) for ids, _ in wanted]
    with pytest.raises(IndexError):
        store[50]


def test_numpy_alone_reads_the_files(tmp_path: Path) -> None:
    write_tokens(tmp_path, [([7, 0, 8], [False, False, True]), ([9], [True])])
    tokens = np.load(tmp_path / "tokens.npy")
    assert (tokens.dtype, tokens.tolist()) == (np.dtype("int32"), [~7, ~0, 8, 9])
    assert np.load(tmp_path / "starts.npy").tolist() == [0, 3, 4]


def test_nothing_can_be_stored_too(tmp_path: Path) -> None:
    write_tokens(tmp_path, [])
    assert list(TokenStore(tmp_path)) == []


def test_a_file_that_was_cut_short_is_an_error(tmp_path: Path) -> None:
    write_tokens(tmp_path, sequences(20))
    path = tmp_path / "tokens.npy"
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(RunDirError, match=r"tokens\.npy' was cut short; remove its folder"):
        list(TokenStore(tmp_path))


def test_memory_grows_by_eight_bytes_a_sequence(tmp_path: Path) -> None:
    """20,000 rows of 128 tokens are 20 MB as lists of ids alone (8 bytes for each)."""
    count = 20_000
    row = ([5] * 128, [True] * 128)
    tracemalloc.start()
    write_tokens(tmp_path, (row for _ in range(count)))
    written = tracemalloc.get_traced_memory()[1]
    store = TokenStore(tmp_path)
    assert sum(len(store[i][0]) for i in range(0, count, 50)) == 128 * count // 50
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "tokens.npy").stat().st_size > 10e6
    # the starts are there twice for a moment, as they are saved
    assert written < 4 * 8 * count
    assert held < 2 * 8 * count
    assert peak < 4 * 8 * count
