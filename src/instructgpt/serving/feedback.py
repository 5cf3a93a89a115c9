"""What people agree to give: prompts, votes and thumbs of the chat page, as rows training reads.

prompts.jsonl    what was asked: prompts, for `label` and `ppo`
rankings.jsonl   votes between two answers: K-way rankings, for `reward_model` and `dpo`
thumbs.jsonl     one answer, good or bad, and why: {prompt, user, completion, label, meta}
deletions.jsonl  who asked to be forgotten, when: {forget, at}

Nothing is kept without consent, with personal data in it, or beyond 200 prompts of one user
(paper 3.2). Every row says whose it is, by a random name that only that user's browser knows.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from instructgpt.data.hygiene.personal_data import find_personal_data
from instructgpt.data.records import Prompt, Ranking
from instructgpt.errors import ConfigError
from instructgpt.loop.feedback import (
    DELETIONS,
    PROMPTS,
    RANKINGS,
    THUMBS,
    read_prompts,
    read_thumbs,
    read_votes,
)
from instructgpt.serving.errors import ApiError, invalid
from instructgpt.serving.schemas import ChatMessage, Text
from instructgpt.storage.atomic import append_line
from instructgpt.storage.environment import utc_now
from instructgpt.storage.forgetting import forget_rows

USER_CAP = 200
_KEPT = (PROMPTS, RANKINGS, THUMBS)

Outcome = Literal["stored", "personal_data", "user_cap"]
UserName = Annotated[str, Field(pattern="^[A-Za-z0-9-]{16,64}$")]


class FeedbackRequest(BaseModel):
    """POST /v1/feedback: a prompt alone, `ranks` of several answers, or whether one is `good`."""

    user: UserName
    consent: bool = False
    prompt: Annotated[list[ChatMessage], Field(min_length=1)]
    completions: Annotated[list[Text], Field(max_length=9)] = []
    models: list[str] = []
    ranks: list[int] | None = None
    good: bool | None = None
    reason: Text = ""


class ForgetRequest(BaseModel):
    """DELETE /v1/feedback: take back everything of `user`."""

    user: UserName


class FeedbackLog:
    """The files in `folder`, which is made if it is missing. Safe between threads.

    Errors: ConfigError when the folder cannot be made, DataError when a file in it is broken,
    RunDirError when the disk refuses.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot make the folder '{folder}': {error.strerror}") from error
        self._folder = folder
        self._lock = threading.Lock()
        self._prompts: dict[str, set[str]] = defaultdict(set)
        for prompt in _given(folder):
            if prompt.user is not None:
                self._prompts[prompt.user].add(prompt.key)

    def record(self, said: FeedbackRequest) -> Outcome:
        """Keep what was said, or say why not. Errors: ApiError 403 without consent, 400 when it is
        no prompt, no ranking and no thumb.
        """
        if not said.consent:
            raise ApiError(403, "nothing is kept without consent", code="consent_required")
        messages = [message.to_message(i) for i, message in enumerate(said.prompt)]
        try:
            prompt = Prompt(tuple(messages), user=said.user)
        except ValueError as error:
            raise invalid("prompt", str(error)) from error
        name, row = _row(prompt, said)
        texts = [*(message.content for message in messages), *said.completions, said.reason]
        if any(find_personal_data(text) for text in texts):
            return "personal_data"
        with self._lock:
            kept = self._prompts[said.user]
            if prompt.key not in kept and len(kept) >= USER_CAP:
                return "user_cap"
            self._append(name, row)
            kept.add(prompt.key)
        return "stored"

    def forget(self, user: str) -> int:
        """Take back everything of a user and note that they asked; how many rows it was."""
        with self._lock:
            self._append(DELETIONS, {"forget": user, "at": utc_now()})
            self._prompts.pop(user, None)
            return sum(forget_rows(path, user) for path in self._paths())

    def _paths(self) -> Iterator[Path]:
        yield from (path for name in _KEPT if (path := self._folder / name).exists())

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        append_line(self._folder / name, json.dumps(row, ensure_ascii=False), durable=True)


def _given(folder: Path) -> Iterator[Prompt]:
    """The prompts of everything that is kept."""
    yield from (prompt for _, prompt in read_prompts(folder))
    yield from (vote.prompt for vote in read_votes(folder))
    yield from (thumb.prompt for thumb in read_thumbs(folder))


def _row(prompt: Prompt, said: FeedbackRequest) -> tuple[str, dict[str, Any]]:
    """(file, row). Errors: ApiError 400."""
    meta = {"consent": utc_now()}
    if len(said.models) != len(said.completions):
        raise invalid("models", "must name the model of every completion")
    if said.ranks is not None:
        meta_of_vote = {**meta, "models": said.models, "reason": said.reason}
        try:
            ranking = Ranking(prompt, tuple(said.completions), tuple(said.ranks), meta=meta_of_vote)
        except ValueError as error:
            raise invalid("ranks", str(error)) from error
        return RANKINGS, ranking.to_dict()
    if said.good is not None and len(said.completions) == 1:
        return THUMBS, {
            **prompt.to_dict(),
            "completion": said.completions[0],
            "label": said.good,
            "meta": {**meta, "model": said.models[0], "reason": said.reason},
        }
    if said.good is None and not said.completions:
        return PROMPTS, Prompt(prompt.messages, user=prompt.user, meta=meta).to_dict()
    raise invalid("ranks", "give ranks, or `good` for a single completion, or a prompt alone")
