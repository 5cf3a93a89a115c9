"""Who judges completions, for stages `label` and `evaluate`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from instructgpt.config.base import Config

_OURS = ("messages", "model", "n", "stream")


class SimulatedJudgeConfig(Config):
    """The microworld's simulated labelers; the stage's `world` is theirs."""

    type: Literal["simulated"] = "simulated"
    """Which kind of judge this is."""
    count: int = Field(default=6, ge=1)
    """Labelers, each with tastes of their own."""
    share: int = Field(default=1, ge=1)
    """How often each of them is drawn, beside the shares of the others (`label` only)."""


class RewardModelJudgeConfig(Config):
    """A reward model, which prefers what it scores higher."""

    type: Literal["reward_model"]
    """Which kind of judge this is."""
    model: str
    """Reward model directory or hub name."""
    name: str | None = None
    """What tables call it; default: reward_model."""
    tie_width: float = Field(default=0.0, ge=0)
    """Scores that fall into one step of this width are tied; 0: only equal ones."""
    share: int = Field(default=1, ge=1)
    """How often it is drawn, beside the shares of the others (`label` only)."""


class AIJudgeConfig(Config):
    """A language model behind an OpenAI-compatible endpoint, asked in both orders."""

    # Words, and a secret: no file that decides a result, even where one has such a name.
    not_inputs: ClassVar[frozenset[str]] = frozenset(
        {"name", "base_url", "model", "api_key_env", "api_key_file", "proxy"}
    )

    type: Literal["ai"]
    """Which kind of judge this is."""
    base_url: str
    """Endpoint up to /v1, as clients are told it."""
    model: str
    """Model name that is sent."""
    name: str | None = None
    """What tables call it; default: the model's name."""
    api_key_env: str | None = None
    """Environment variable that holds the API key; no other variable is looked at."""
    api_key_file: str | None = None
    """File that holds the API key alone; its content is written nowhere."""
    rubric: str | None = None
    """Text file that says what makes an answer better; default: a rubric after the paper's."""
    language: Literal["auto", "en", "zh"] = "auto"
    """Language of the question to the judge; auto: Chinese where the user's last turn has any."""
    compare: Literal["list", "pairs"] = "list"
    """Show all completions at once, or every pair of them and count what each wins."""
    request: dict[str, Any] = Field(default={"temperature": 0.0, "max_tokens": 1024})
    """Further fields of every request, instead of these; for models that name them otherwise."""
    concurrency: int = Field(default=8, ge=1, le=256)
    """Requests under way together."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds that one try of one request may take."""
    attempts: int = Field(default=6, ge=1)
    """Tries before the stage stops; waits double from a second, or last as Retry-After says."""
    price_in: float | None = Field(default=None, ge=0)
    """Price of a million tokens that are sent, in any currency."""
    price_out: float | None = Field(default=None, ge=0)
    """Price of a million tokens that come back."""
    proxy: str | None = None
    """URL of an HTTP proxy to go through; those of environment variables are not used."""
    share: int = Field(default=1, ge=1)
    """How often it is drawn, beside the shares of the others (`label` only)."""

    @model_validator(mode="after")
    def _check(self) -> AIJudgeConfig:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"base_url '{self.base_url}' does not begin with http:// or https://")
        if parts.username is not None or parts.password is not None:
            raise ValueError("base_url holds a password; use api_key_env or api_key_file")
        if self.api_key_env is not None and self.api_key_file is not None:
            raise ValueError("give api_key_env or api_key_file, not both")
        if taken := sorted(set(self.request) & set(_OURS)):
            raise ValueError(f"request: '{taken[0]}' is set by the judge itself")
        return self


JudgeConfig = Annotated[
    SimulatedJudgeConfig | AIJudgeConfig | RewardModelJudgeConfig, Field(discriminator="type")
]
"""One entry of a stage's `judges`."""
