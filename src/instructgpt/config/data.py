"""Settings of stage `data`: real files in many formats -> records, with held-out splits."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

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
    columns: dict[str, str] = Field(default_factory=dict)
    """Keys to rename before anything else, as prompt=question,completion=reply."""
    on_problem: Literal["skip", "skip_broken", "error"] = "skip"
    """Rows that cannot be used: left out and listed in problems.jsonl; with skip_broken also rows
    that cannot even be read (not JSON, not UTF-8), which stop the stage otherwise; or an error."""
    valid_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share held out, of documents and of prompts; a prompt is held out from every kind."""
    split_by: Literal["prompt", "user", "prompt_and_user"] = "prompt_and_user"
    """What may not be on both sides (paper 3.2: split by user); near-duplicates are one prompt."""
    hygiene: HygieneConfig = HygieneConfig()
    """What is removed before the split, and who counts as a user."""

    @field_validator("columns", mode="before")
    @classmethod
    def _read_columns(cls, value: Any) -> Any:
        return parse_columns(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check(self) -> DataConfig:
        if not (self.documents or self.demonstrations or self.rankings or self.prompts):
            raise ValueError("nothing to read: give documents, demonstrations, rankings or prompts")
        return self


def parse_columns(text: str) -> dict[str, str]:
    """ "prompt=question,completion=reply" as a map. Errors: ValueError."""
    columns: dict[str, str] = {}
    for part in text.split(","):
        new, equals, old = (piece.strip() for piece in part.partition("="))
        if not (new and equals and old) or new in columns:
            raise ValueError(f"write columns as prompt=question,completion=reply, not {text!r}")
        columns[new] = old
    return columns
