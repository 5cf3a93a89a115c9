"""Settings of stage `microworld`: the small bilingual world and what is drawn from it."""

from __future__ import annotations

from pydantic import Field

from instructgpt.config.base import Config


class MicroworldConfig(Config):
    """Documents, demonstrations and prompts of a generated world."""

    seed: int = 0
    """Seed of the world and of every draw."""
    people: int = Field(default=16, ge=4)
    """People with facts."""
    unknown: int = Field(default=4, ge=1)
    """People who are asked about and never described."""
    held_out: float = Field(default=0.15, gt=0, lt=0.5)
    """Share of facts and actions that no training prompt or demonstration touches."""
    documents: int = Field(default=40_000, gt=0)
    """Pretraining documents."""
    documents_heldout: int = Field(default=400, gt=0)
    """Documents of the held-out loss."""
    demonstrations: int = Field(default=6_000, gt=0)
    """Demonstrations to learn from."""
    demonstrations_valid: int = Field(default=300, gt=0)
    """Demonstrations of other prompts, for the validation loss."""
    flawed: float = Field(default=0.80, ge=0, le=1)
    """Share of demonstrations with a flaw that labelers dislike."""
    prompts_rank: int = Field(default=2_000, gt=0)
    """Prompts whose completions are ranked."""
    prompts_ppo: int = Field(default=4_000, gt=0)
    """Prompts of reinforcement learning."""
    prompts_eval: int = Field(default=600, gt=0)
    """Prompts of the evaluation: half of them with held-out phrasings, half with held-out facts."""
