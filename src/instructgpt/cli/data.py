"""`instructgpt data`: the stage itself, and what can be done with data files outside a recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from instructgpt.cli import data_clean, data_convert, data_inspect

_STAGE = "read"


class DataVerbs(TyperGroup):
    """Verbs below `data`; without one of them it is the stage, as every stage's verb is."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the stage's verb before what is none."""
        known = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if known else [_STAGE, *args])


def add_to(
    app: typer.Typer, purpose: str, panel: str, register: Callable[[typer.Typer, str], None]
) -> None:
    """Register `data` and its verbs; `register` adds the stage under the name that it is given."""
    group = typer.Typer(cls=DataVerbs)
    register(group, _STAGE)
    for verb in (data_inspect, data_convert, data_clean):
        verb.add_to(group)
    also = "Also: data inspect, data convert, data clean."
    app.add_typer(group, name="data", help=f"{purpose} {also}", rich_help_panel=panel)
