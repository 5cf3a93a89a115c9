"""What people say of answers on the chat page, as rows that training reads.

rankings.jsonl   votes between two answers: K-way rankings, for `reward_model` and `dpo`
thumbs.jsonl     one answer, good or bad, and why: {prompt, completion, label, meta}
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from instructgpt.data.records import Message, Prompt, Ranking
from instructgpt.errors import ConfigError
from instructgpt.serving.errors import invalid
from instructgpt.serving.schemas import ChatMessage, Text
from instructgpt.storage.atomic import disk_errors


class FeedbackRequest(BaseModel):
    """POST /v1/feedback: `ranks` of several answers, or whether a single one was `good`."""

    prompt: Annotated[list[ChatMessage], Field(min_length=1)]
    completions: Annotated[list[Text], Field(min_length=1, max_length=9)]
    models: list[str]
    ranks: list[int] | None = None
    good: bool | None = None
    reason: Text = ""


class FeedbackLog:
    """Appends to the files in `folder`, which is made if it is missing. Safe between threads.

    Errors: ConfigError when the folder cannot be made, RunDirError when the disk refuses.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot make the folder '{folder}': {error.strerror}") from error
        self._folder = folder
        self._lock = threading.Lock()

    def record(self, said: FeedbackRequest) -> None:
        """Store one verdict. Errors: ApiError 400 when it is no ranking and no thumb."""
        messages = [message.to_message(i) for i, message in enumerate(said.prompt)]
        if len(said.models) != len(said.completions):
            raise invalid("models", "must name the model of every completion")
        if said.ranks is not None:
            self._append("rankings.jsonl", _ranking(messages, said))
        elif said.good is not None and len(said.completions) == 1:
            self._append("thumbs.jsonl", _thumb(messages, said))
        else:
            raise invalid("ranks", "give ranks, or `good` for a single completion")

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        path = self._folder / name
        line = json.dumps(row, ensure_ascii=False) + "\n"
        with self._lock, disk_errors(path), path.open("a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def _ranking(messages: list[Message], said: FeedbackRequest) -> dict[str, Any]:
    try:
        ranking = Ranking(
            Prompt(tuple(messages)),
            tuple(said.completions),
            tuple(said.ranks or ()),
            meta={"models": said.models, "reason": said.reason},
        )
    except ValueError as error:
        raise invalid("ranks", str(error)) from error
    return ranking.to_dict()


def _thumb(messages: list[Message], said: FeedbackRequest) -> dict[str, Any]:
    return {
        "prompt": [message.to_dict() for message in messages],
        "completion": said.completions[0],
        "label": said.good,
        "meta": {"model": said.models[0], "reason": said.reason},
    }
