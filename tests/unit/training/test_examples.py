"""What does not fit is dropped whole and counted, never cut."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from instructgpt.data.records import Message, Prompt
from instructgpt.errors import DataError
from instructgpt.training.examples import tokenize_prompts


class Renderer:
    """One token per word."""

    def prefix(self, task: str | None) -> list[int]:
        return []

    def prompt_ids(self, messages: tuple[Message, ...], task: str | None = None) -> list[int]:
        return [len(word) for word in messages[-1].content.split()]


PROMPTS = [Prompt((Message("user", text),)) for text in ("a bb", "a bb ccc dddd", "one two three")]


def test_long_prompts_are_dropped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        kept, ids = tokenize_prompts(PROMPTS, Renderer(), 3, tmp_path)
    assert list(kept) == [PROMPTS[0], PROMPTS[2]]
    assert list(ids) == [[1, 2], [3, 3, 5]]
    assert caplog.messages == ["1 of 3 prompts left out: over 3 tokens"]


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of the 3 prompts fits into 1 tokens"):
        tokenize_prompts(PROMPTS, Renderer(), 1, tmp_path)
