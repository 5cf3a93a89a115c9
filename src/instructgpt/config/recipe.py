"""A recipe: named stages in order, each with its settings, tied together by '@name/path'.

    name: quickstart
    seed: 0
    trackers: [tensorboard]
    stages:
      world: {stage: microworld, people: 20}
      base:  {stage: pretrain, documents: "@world/documents.jsonl"}
      sft:   {model: "@base/model", demonstrations: "@world/demonstrations.jsonl"}

`trackers` are the experiment trackers that follow every stage; they change no stage's identity.
`stage` names the kind and defaults to the section's name. '@world/documents.jsonl' is that file in
the run directory of stage `world`, which must come earlier.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from instructgpt.config.load import did_you_mean
from instructgpt.config.references import find_references
from instructgpt.config.trackers import check_trackers
from instructgpt.config.yaml12 import Settings, read_yaml
from instructgpt.errors import ConfigError

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_STAGE_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TOP_KEYS = ("name", "seed", "trackers", "stages")
# Folders that a recipe's root directory holds besides its stages.
_RESERVED = ("stale",)


@dataclass(frozen=True)
class Section:
    """One stage of a recipe: its name, its kind (stem), and its settings as written."""

    name: str
    stem: str
    settings: Settings


@dataclass(frozen=True)
class Recipe:
    """What one recipe file says; settings are checked when the stages are planned."""

    name: str
    seed: int
    sections: dict[str, Section]
    source: str
    trackers: tuple[str, ...] = ()
    flags: bool = True
    """Whether the command that runs it takes settings as flags."""


def load_recipe(path: Path) -> Recipe:
    """Read a recipe. Errors: ConfigError naming file and line."""
    settings = read_yaml(path)
    for key in settings.values:
        if key not in _TOP_KEYS:
            raise ConfigError(
                f"{settings.origin(key)}: unknown key '{key}'{did_you_mean(key, _TOP_KEYS)}"
            )
    name = settings.values.get("name", path.stem)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(f"{settings.origin('name')}: name: use a-z, 0-9, - and _, got {name!r}")
    seed = settings.values.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ConfigError(f"{settings.origin('seed')}: seed: use a whole number >= 0, got {seed!r}")
    sections = read_sections(settings, "stages", path)
    trackers = settings.values.get("trackers") or []
    where = f"{settings.origin('trackers')}: trackers"
    if not isinstance(trackers, list) or not all(isinstance(one, str) for one in trackers):
        raise ConfigError(f"{where}: use a list of names, got {trackers!r}")
    return Recipe(name, seed, sections, str(path), check_trackers(trackers, where))


def read_sections(
    settings: Settings, key: str, path: Path, reserved: Sequence[str] = ()
) -> dict[str, Section]:
    """The stages below `key` of a file, in order; none may be called as in `reserved`.

    Errors: ConfigError.
    """
    stages = settings.values.get(key)
    if not isinstance(stages, dict) or not stages:
        what = "recipe" if key == "stages" else "loop"
        raise ConfigError(f"{path}: a {what} needs `{key}:` with at least one stage below it")
    below = settings.section(key)
    return {name: _section(name, below, (*_RESERVED, *reserved)) for name in stages}


def derive_seed(recipe_seed: int, stage_name: str) -> int:
    """The seed of a stage that names none: independent streams, the same on every machine."""
    digest = hashlib.sha256(f"{recipe_seed}/{stage_name}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % 2**31


def check_references(section: Section, earlier: list[str], all_names: list[str]) -> None:
    """Every '@stage' in `section` must be one of `earlier`. Errors: ConfigError."""
    for key, stage, path in find_references(section.settings.values):
        if stage in earlier:
            continue
        where = section.settings.origin(key) or section.name
        if stage == section.name:
            reason = "that is this stage itself"
        elif stage in all_names:
            reason = f"stage '{stage}' comes later; move it before '{section.name}'"
        else:
            reason = f"there is no stage '{stage}'{did_you_mean(stage, earlier)}"
        raise ConfigError(f"{where}: {key}: '@{stage}{path and '/' + path}': {reason}")


def _section(name: str, stages: Settings, reserved: Sequence[str]) -> Section:
    where = stages.origin(name)
    if not _STAGE_NAME.fullmatch(name):
        raise ConfigError(f"{where}: a stage's name uses a-z, 0-9 and _, got '{name}'")
    if name in reserved:
        raise ConfigError(f"{where}: a stage's name uses a-z, 0-9 and _, and '{name}' is taken")
    values = stages.values[name]
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: stage '{name}' needs `setting: value` lines below it")
    stem = values.get("stage", name)
    if not isinstance(stem, str):
        raise ConfigError(f"{where}: stage: use the name of a kind of stage, got {stem!r}")
    own = {key: value for key, value in values.items() if key != "stage"}
    origins = stages.section(name).origins if values else {}
    # The section's own line stands for settings that it lacks, such as a required one.
    return Section(name, stem, Settings(own, {"": where or name, **origins}))
