"""'@NAME' in the stages of a round, beside the round's own: paths elsewhere in the loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instructgpt.config.loop import Loop
from instructgpt.config.recipe import Recipe, Section, derive_seed
from instructgpt.config.references import find_references
from instructgpt.config.yaml12 import Settings
from instructgpt.loop.places import round_folder, start_folder


@dataclass(frozen=True)
class Places:
    """`served` is the model's folder. What the places are called is in `config.loop.PLACES`."""

    root: Path
    number: int
    served: Path

    def resolve(self, value: Any) -> Any:
        """`value` with the names of places replaced by paths; a round's own stages stay."""
        if isinstance(value, str):
            return self._path(value)
        if isinstance(value, Mapping):
            return {key: self.resolve(below) for key, below in value.items()}
        if isinstance(value, list):
            return [self.resolve(below) for below in value]
        return value

    def _path(self, text: str) -> str:
        for _, name, below in find_references(text):
            if name == "served":
                return str(self.served / below)
            if name == "start":
                return str(start_folder(self.root) / below)
            if name in ("prompts", "demonstrations", "people"):
                return str(round_folder(self.root, self.number) / name / below)
        return text


def start_recipe(loop: Loop) -> Recipe:
    """The stages of `start`."""
    seed = derive_seed(loop.config.seed, "start")
    return Recipe(loop.config.name, seed, loop.start, str(loop.source), flags=False)


def round_recipe(loop: Loop, places: Places) -> Recipe:
    """The stages of `round`, with seeds of this round."""
    sections = {
        name: Section(
            name, one.stem, Settings(places.resolve(one.settings.values), one.settings.origins)
        )
        for name, one in loop.round.items()
    }
    name = f"{loop.config.name}-{places.number:03d}"
    seed = derive_seed(loop.config.seed, f"round {places.number}")
    return Recipe(name, seed, sections, str(loop.source), flags=False)


def uses_people(section: Section) -> bool:
    """Whether a stage reads what people have ranked in this round."""
    return any(name == "people" for _, name, _ in find_references(section.settings.values))
