"""What the phases of a round share: the settings, the folders, the state, and who hears of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instructgpt.config.loop import Loop, LoopConfig
from instructgpt.config.references import resolve_references
from instructgpt.errors import ConfigError
from instructgpt.loop.history import add_event, deciding
from instructgpt.loop.places import round_folder, start_folder
from instructgpt.loop.state import LoopState, read_state
from instructgpt.pipeline.loop.references import Places
from instructgpt.pipeline.run import Observer


class Waiting(Exception):
    """A round cannot go on yet; the message says for what it waits, and where that comes about."""


@dataclass(frozen=True)
class Work:
    """One round being worked on."""

    loop: Loop
    root: Path
    number: int
    by: str
    observer: Observer
    say: Callable[[str], None]

    @property
    def config(self) -> LoopConfig:
        return self.loop.config

    @property
    def folder(self) -> Path:
        """The round's."""
        return round_folder(self.root, self.number)

    @property
    def state(self) -> LoopState:
        """As the history has it now."""
        return read_state(self.root)

    @property
    def places(self) -> Places:
        """What '@NAME' means in this round; `@served` stays what it was when the round began."""
        served = self.state.rounds[self.number].events["started"].facts["served"]
        return Places(self.root, self.number, self.root / served)

    def path(self, setting: str) -> Path:
        """A path from the loop's own settings; "@world" is a stage of the start."""
        return Path(resolve_references(setting, start_folder(self.root)))

    def round_path(self, setting: str) -> Path:
        """A path from the loop's own settings that may name a stage of this round."""
        return Path(resolve_references(self.places.resolve(setting), self.folder))

    @property
    def world(self) -> Path:
        """The microworld. The settings ask for one wherever somebody is simulated."""
        if self.config.world is None:
            raise ConfigError("world: it is needed for what is simulated")
        return self.path(self.config.world)

    def note(self, kind: str, **facts: Any) -> None:
        """Add what happened in this round to the history."""
        with deciding(self.root):
            add_event(self.root, kind, self.number, self.by, **facts)

    def rounds_before(self) -> list[Path]:
        """The folders of earlier rounds, oldest first."""
        return [round_folder(self.root, number) for number in range(1, self.number)]
