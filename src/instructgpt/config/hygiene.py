"""Settings of the hygiene of data: what is removed before anybody learns from it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from instructgpt.config.base import Config


class HygieneConfig(Config):
    """Filters in the order in which they run; every removal is listed in removals.jsonl."""

    evaluation: tuple[str, ...] = ()
    """Files with prompts of evaluation sets; records that overlap one of them are removed."""
    evaluation_words: int = Field(default=13, ge=1)
    """So many words in a row (Chinese: characters) shared with an evaluation prompt overlap it."""
    personal_data: Literal["drop", "mask", "keep"] = "drop"
    """Phones, IDs, cards, mail, addresses, keys: drop the record (paper 3.2) or mask the match."""
    prefix_words: int | None = Field(default=50, ge=1)
    """Prompts that begin with the same so many words (Chinese characters) count as one (paper
    3.2, A.2; the length is ours, the paper gives none); none: keep them."""
    similarity: float | None = Field(default=0.8, gt=0, le=1)
    """Prompts whose word triples overlap by this Jaccard count as one; none: keep them."""
    user_cap: int | None = Field(default=200, ge=1)
    """Distinct prompts of one user at most (paper 3.2); none: no cap."""
    user_key: str = "user"
    """Who a record belongs to: `user`, or a key of its meta such as `organization` (paper A.2)."""
