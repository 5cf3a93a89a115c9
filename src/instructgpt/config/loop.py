"""Settings of `instructgpt loop`: from use to the next model, round after round.

    name: mine
    rounds: 3
    start:                        # once: an ordinary recipe, up to the model that is served first
      sft: {model: gpt2, demonstrations: first.jsonl}
    served: "@sft/model"
    prompts: {wanted: 300, demonstrate: 100, rank: 100}
    round:                        # in every round: an ordinary recipe, up to the candidate
      sft: {model: gpt2, demonstrations: "@demonstrations/demonstrations.jsonl"}
      ...
    candidate: "@ppo/model"

In `round` these names stand beside its own stages: `@prompts`, `@demonstrations` and `@people` are
what this round has collected, `@served` is the model that is served while it begins, and
`@start/NAME` is a stage of `start`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from instructgpt.config.base import Config
from instructgpt.config.hygiene import HygieneConfig
from instructgpt.config.judges import JudgeConfig, SimulatedJudgeConfig
from instructgpt.config.label import TaskConfig
from instructgpt.config.load import build
from instructgpt.config.recipe import Section, read_sections
from instructgpt.config.shared import HardwareConfig, SamplingConfig
from instructgpt.config.yaml12 import Settings, read_yaml

PLACES: dict[str, tuple[str, ...]] = {
    "start": (),
    "served": (),
    "prompts": (
        "demonstrate.jsonl",
        "rank.jsonl",
        "judge.jsonl",
        "ppo_new.jsonl",
        "ppo.jsonl",
        "rankings.jsonl",
        "removals.jsonl",
    ),
    "demonstrations": ("demonstrations.jsonl", "new.jsonl"),
    "people": ("rankings.jsonl",),
}
"""Names that no stage of a round may have, and the files there; below `start` are its stages."""


class PromptsConfig(Config):
    """What a round takes of the prompts that users have agreed to give; the rest is for PPO."""

    wanted: int = Field(default=300, gt=0)
    """New prompts with which a round begins."""
    demonstrate: int = Field(default=100, ge=0)
    """Of them, prompts to write an answer to, for SFT."""
    rank: int = Field(default=100, ge=0)
    """Of them, prompts whose sampled answers are ranked, for the reward model."""
    judge: int = Field(default=0, ge=0)
    """Of them, prompts that train nothing, on which judges compare the candidate."""
    known: str | None = None
    """Prompts whose meta goes over to collected ones of the same text, for simulated labelers."""

    @model_validator(mode="after")
    def _check(self) -> PromptsConfig:
        taken = self.demonstrate + self.rank + self.judge
        if taken >= self.wanted:
            raise ValueError(
                f"demonstrate, rank and judge take {taken} of {self.wanted} prompts and leave PPO "
                "none; raise wanted"
            )
        return self


class DemonstrationsConfig(Config):
    """Who answers the prompts that are to be demonstrated."""

    by: Literal["people", "simulated"] = "people"
    """people: on the label page; simulated: writers of the microworld."""
    also: tuple[str, ...] = ()
    """Demonstrations from before the loop, from which every round learns too."""
    flawed: float | None = Field(default=None, ge=0, le=1)
    """Simulated only: share with a flaw that labelers dislike; default: that of the microworld."""

    @model_validator(mode="after")
    def _check(self) -> DemonstrationsConfig:
        if self.by == "people" and self.flawed is not None:
            raise ValueError("demonstrations.flawed is for simulated writers; leave it out")
        return self


class UsersConfig(Config):
    """Simulated users, who send prompts, give thumbs and vote, each with tastes of their own."""

    prompts: str
    """What they ask: prompts with the microworld's meta; every user draws from them."""
    count: int = Field(default=800, gt=0)
    """How many there are; those who agree must be enough for compare.max_votes."""
    consent: float = Field(default=0.9, gt=0, le=1)
    """Share who agree that what they write is kept."""
    sampling: SamplingConfig = SamplingConfig(temperature=0.7)
    """How they are answered; 0.7 is where the chat page begins."""


class CompareConfig(Config):
    """When a candidate takes the place of the model that is served."""

    decided_by: tuple[Literal["votes", "judges"], ...] = ("votes",)
    """Whose intervals must lie above one half, all of them: users' blind votes, the judges."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    """Chance that an interval is ever wrong, at whatever moment one looks and stops."""
    max_votes: int = Field(default=600, gt=0)
    """Votes after which a candidate that has not been shown to be better is dropped."""
    votes_per_user: int = Field(default=1, gt=0)
    """Votes of one user that count; above 1, users must not differ in whom they prefer."""
    judges: tuple[JudgeConfig, ...] = ()
    """Judges who compare the two, in both orders, on prompts.judge prompts."""
    sampling: SamplingConfig = SamplingConfig(temperature=0.7)
    """How the two answer the judges."""

    @model_validator(mode="after")
    def _check(self) -> CompareConfig:
        if not self.decided_by or len(set(self.decided_by)) < len(self.decided_by):
            raise ValueError("compare.decided_by: name votes, judges, or both, each once")
        if ("judges" in self.decided_by) and not self.judges:
            raise ValueError("compare.decided_by names judges; give compare.judges")
        return self


class PeopleConfig(TaskConfig):
    """Rankings by people on the label page, read as `people: "@people/rankings.jsonl"`."""

    models: tuple[str, ...] = Field(min_length=1)
    """Models whose answers they rank, such as "@sft/model"."""
    twice: float = Field(default=0.1, ge=0, le=1)
    """Share of tasks that two labelers should rank, to measure agreement."""


class LoopConfig(Config):
    """Rounds of collecting, learning and comparing; `start` and `round` hold stages."""

    name: str = Field(default="loop", pattern="^[a-z0-9][a-z0-9_-]*$")
    """What clients call the model that is served, whichever it is."""
    seed: int = Field(default=0, ge=0)
    """Decides every random draw of every round."""
    rounds: int = Field(default=3, gt=0)
    """Rounds in all."""
    served: str
    """The model that is served first, such as "@sft/model" of `start`."""
    candidate: str
    """The model that a round ends with, such as "@ppo/model" of `round`."""
    world: str | None = None
    """The microworld, such as "@world" of `start`, for everybody who is simulated."""
    prompts: PromptsConfig = PromptsConfig()
    """Which prompts a round begins with."""
    hygiene: HygieneConfig = HygieneConfig()
    """What is removed from the prompts before anybody learns from them."""
    demonstrations: DemonstrationsConfig = DemonstrationsConfig()
    """Who writes demonstrations."""
    people: PeopleConfig | None = None
    """People rank, not only the judges of a round's `label`; default: they do not."""
    users: UsersConfig | None = None
    """Simulated users; default: real ones, through `instructgpt serve`."""
    compare: CompareConfig = CompareConfig()
    """When the candidate is promoted."""
    hardware: HardwareConfig = HardwareConfig()
    """Device and dtype of answering and judging; stages have their own."""

    @field_validator("name")
    @classmethod
    def _is_no_model(cls, name: str) -> str:
        if re.fullmatch(r"round-\d+", name):
            raise ValueError(f"'{name}' is what a model of the loop is called; choose another")
        return name

    @model_validator(mode="after")
    def _check(self) -> LoopConfig:
        for name in ("served", "candidate"):
            if not getattr(self, name).startswith("@"):
                raise ValueError(f"{name}: name a stage's model, as @STAGE/model")
        judges = self.compare.judges
        simulated = {
            "users": self.users is not None,
            "demonstrations.by = simulated": self.demonstrations.by == "simulated",
            "simulated judges": any(isinstance(one, SimulatedJudgeConfig) for one in judges),
        }
        for what, used in simulated.items():
            if used and self.world is None:
                raise ValueError(f"{what}: needs world")
        if judges and not self.prompts.judge:
            raise ValueError("compare.judges need prompts.judge, prompts that train nothing")
        if self.prompts.judge and not judges:
            raise ValueError("prompts.judge is for compare.judges; give some, or leave it out")
        return self

    @model_validator(mode="after")
    def _check_votes(self) -> LoopConfig:
        users, rule = self.users, self.compare
        if users is not None and "votes" in rule.decided_by:
            votes = round(users.count * users.consent * rule.votes_per_user)
            if votes < rule.max_votes:
                raise ValueError(
                    f"users.count: of {users.count} users, {users.consent:.0%} of whom agree, come "
                    f"about {votes} votes, and compare.max_votes may wait for {rule.max_votes}; "
                    "raise the one, or lower the other"
                )
        return self


@dataclass(frozen=True)
class Loop:
    """What a loop's file says; `pipeline.loop.check` checks its stages."""

    config: LoopConfig
    start: dict[str, Section]
    round: dict[str, Section]
    source: Path
    text: str
    origins: Mapping[str, str] = field(repr=False)

    def where(self, key: str) -> str:
        """`file:line: key` of one of the loop's own settings."""
        return f"{Settings(origins=dict(self.origins)).origin(key)}: {key}"


def load_loop(path: Path) -> Loop:
    """Read a loop's settings. Errors: ConfigError naming file and line."""
    settings = read_yaml(path)
    start = read_sections(settings, "start", path)
    stages = read_sections(settings, "round", path, reserved=tuple(PLACES))
    values = {k: v for k, v in settings.values.items() if k not in ("start", "round")}
    config = build(LoopConfig, Settings(values, settings.origins), flags=False)
    return Loop(config, start, stages, path, path.read_text(encoding="utf-8"), settings.origins)
