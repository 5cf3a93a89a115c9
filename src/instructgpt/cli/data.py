"""`instructgpt data`: the stage itself, and what can be done with data files outside a recipe."""

from __future__ import annotations

from collections.abc import Callable

import typer

from instructgpt.cli import data_clean, data_convert, data_forget, data_inspect
from instructgpt.cli.stage_group import stage_group

_STAGE = "read"


def add_to(
    app: typer.Typer, purpose: str, panel: str, register: Callable[[typer.Typer, str], None]
) -> None:
    """Register `data` and its verbs; `register` adds the stage under the name that it is given."""
    group = typer.Typer(cls=stage_group(_STAGE))
    register(group, _STAGE)
    for verb in (data_inspect, data_convert, data_clean, data_forget):
        verb.add_to(group)
    also = "Also: data inspect, data convert, data clean, data forget."
    app.add_typer(group, name="data", help=f"{purpose} {also}", rich_help_panel=panel)
