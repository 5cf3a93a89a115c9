"""Stages that do next to nothing, to test what runs stages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest

from instructgpt.config.base import Config
from instructgpt.errors import DataError
from instructgpt.pipeline.stages import STAGES, Stage


class Inner(Config):
    """A section."""

    lr: float = 0.5
    """A rate."""
    steps: int = 3
    """A count."""


class CopyConfig(Config):
    """Settings of the stage `copy`."""

    seed: int = 0
    """Its seed."""
    text: str = ""
    """What it writes."""
    source: str | None = None
    """A file whose content it writes after that."""
    optim: Inner = Inner(lr=0.25)
    """A section."""


@dataclass
class Calls:
    """Which stages ran, in order, with what; and which of them are to fail."""

    names: list[str] = field(default_factory=list)
    configs: dict[str, CopyConfig] = field(default_factory=dict)
    failing: dict[str, BaseException] = field(default_factory=dict)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    """Registers the kinds `copy` and `gather`; `gather` reads all earlier stages."""
    made = Calls()

    def run(config: CopyConfig, run_dir: Any) -> dict[str, Any]:
        name = run_dir.root.name
        made.names.append(name)
        made.configs[name] = config
        if name in made.failing:
            raise made.failing.pop(name)
        content = config.text
        if config.source is not None:
            with open(config.source, encoding="utf-8") as file:
                content += file.read()
        run_dir.path("out.txt").write_text(content, encoding="utf-8")
        return {"characters": len(content), "text": content}

    module = ModuleType("dummy_stages")
    module.CopyConfig = CopyConfig  # type: ignore[attr-defined]
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dummy_stages", module)
    for stem, reads_all in (("copy", False), ("gather", True)):
        stage = Stage(
            stem, "For tests.", "dummy_stages:CopyConfig", "dummy_stages:run", reads_all=reads_all
        )
        monkeypatch.setitem(STAGES, stem, stage)
    yield made
    assert not made.failing, "a stage that was to fail never ran"


@pytest.fixture
def broken_row() -> DataError:
    """A mistake of the user, as a stage reports it."""
    return DataError("rows.jsonl:3: not JSON")
