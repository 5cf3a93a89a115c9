"""Settings of stage `data`: real files in many formats -> records, with held-out splits."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from instructgpt.config.base import Config
from instructgpt.config.hygiene import HygieneConfig


class DataConfig(Config):
    """Read files or folders into records and hold out a part that shares no prompt and no user."""

    seed: int = 0
    """Seed of the split."""
    documents: tuple[str, ...] = ()
    """Pretraining text: .txt, or JSON with `text`; files or folders."""
    demonstrations: tuple[str, ...] = ()
    """Prompts with the answer to imitate, such as Alpaca or messages."""
    rankings: tuple[str, ...] = ()
    """Prompts with ranked answers: K-way, prompt/chosen/rejected, or HH transcripts."""
    prompts: tuple[str, ...] = ()
    """Prompts to answer; default: those of the demonstrations and rankings."""
    format: str | None = None
    """Format of all files; default: told from the keys of each file's rows."""
    on_problem: Literal["skip", "error"] = "skip"
    """A row that cannot be used is left out and listed in problems.jsonl, or stops the stage."""
    valid_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share held out, of documents and of prompts; a prompt is held out from every kind."""
    split_by: Literal["prompt", "user", "prompt_and_user"] = "prompt_and_user"
    """What may not be on both sides (paper 3.2: split by user); near-duplicates are one prompt."""
    hygiene: HygieneConfig = HygieneConfig()
    """What is removed before the split, and who counts as a user."""

    @model_validator(mode="after")
    def _check(self) -> DataConfig:
        if not (self.documents or self.demonstrations or self.rankings or self.prompts):
            raise ValueError("nothing to read: give documents, demonstrations, rankings or prompts")
        return self
