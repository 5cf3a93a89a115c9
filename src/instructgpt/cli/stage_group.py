"""A stage with verbs below it: without one of them the word is the stage, as every stage's is."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


def stage_group(stage: str) -> type[TyperGroup]:
    """The class of a group whose verb `stage` is meant when no other is named."""

    class StageVerbs(TyperGroup):
        """Verbs below a stage."""

        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            """Put the stage's verb before what is none."""
            known = bool(args) and args[0] in self.commands
            return super().parse_args(ctx, args if known else [stage, *args])

    return StageVerbs
