"""A loop's folder whose history is written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from instructgpt.loop.history import add_event

RULE = {"decided_by": ["votes"], "alpha": 0.05, "max_votes": 50, "votes_per_user": 1}


class MadeLoop:
    """Adds events and votes to a loop in `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        add_event(root, "begun", 0, "ann", name="helper", model="start/sft/model")

    def trained(self, number: int) -> None:
        """A round with a candidate."""
        add_event(self.root, "started", number, "ann", served="start/sft/model")
        taken = {"demonstrate": 3, "rank": 4, "judge": 0, "ppo_new": 5, "left_out": {}}
        add_event(self.root, "collected", number, "ann", **taken)
        add_event(self.root, "demonstrated", number, "ann", new=3, demonstrations=9)
        add_event(self.root, "trained", number, "ann", model=f"rounds/{number:03d}/ppo/model")

    def opened(self, number: int, against: str, **rule: Any) -> None:
        """Its comparison."""
        add_event(self.root, "opened", number, "ann", against=against, **{**RULE, **rule})

    def ended(self, number: int, kind: str) -> None:
        """Its end."""
        add_event(self.root, kind, number, "bob", why="by hand", votes=None, judges=None)

    def vote(
        self,
        user: str | None,
        ranks: list[int],
        text: str = "Who?",
        models: tuple[str, str] = ("round-1", "round-0"),
    ) -> None:
        """A row as the server writes it."""
        row: dict[str, Any] = {
            "prompt": [{"role": "user", "content": text}],
            "completions": ["a", "b"],
            "ranks": ranks,
            "meta": {"models": list(models), "consent": "2026-01-01T00:00:00+00:00"},
        }
        if user is not None:
            row["user"] = user
        path = self.root / "feedback" / "rankings.jsonl"
        path.parent.mkdir(exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


@pytest.fixture
def made(tmp_path: Path) -> MadeLoop:
    """A loop that has begun."""
    return MadeLoop(tmp_path / "loop")
