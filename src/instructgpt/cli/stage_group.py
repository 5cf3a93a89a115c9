"""A stage with verbs below it: without one of them the word is the stage, as every stage's is."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


class StageVerbs(TyperGroup):
    """Verbs below a stage, which is itself the verb `stage`."""

    stage = ""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the stage's verb before what is none."""
        known = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if known else [self.stage, *args])


def stage_group(stage: str) -> type[StageVerbs]:
    """The class of a group whose verb `stage` is meant when no other is named."""
    return type("StageVerbs", (StageVerbs,), {"stage": stage})


def verbs_beside(ctx: Any) -> list[tuple[str, str]]:
    """The verbs below the stage whose help is asked for, as they are typed, and what they do."""
    group = ctx.parent.command if ctx.parent is not None else None
    if not isinstance(group, StageVerbs):
        return []
    return [
        (f"{ctx.parent.info_name} {name}", verb.get_short_help_str(limit=200))
        for name, verb in group.commands.items()
        if name != group.stage
    ]
