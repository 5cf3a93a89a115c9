"""One verb per kind of stage: `instructgpt sft --out DIR --model gpt2 --optim.lr 1e-5`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from instructgpt.cli import data, label
from instructgpt.cli.stage_group import verbs_beside
from instructgpt.errors import ConfigError
from instructgpt.pipeline.stages import STAGES, Stage

if TYPE_CHECKING:
    from instructgpt.config.describe import Row

PANEL = "Stages, one at a time"
_SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True}


def add_to(app: typer.Typer) -> None:
    """Register one verb per kind of stage; `data` and `label` have verbs below them."""
    groups = {"data": data, "label": label}
    for stage in STAGES.values():
        if stage.stem in groups:
            register = partial(add_stage, stage=stage)
            groups[stage.stem].add_to(app, stage.purpose, PANEL, register=register)
        else:
            add_stage(app, stage.stem.replace("_", "-"), stage)


def add_stage(app: typer.Typer, name: str, stage: Stage) -> None:
    """Register `stage` as the verb `name`."""
    app.command(
        name,
        cls=_command_class(stage),
        help=stage.purpose,
        context_settings=_SETTINGS,
        rich_help_panel=PANEL,
    )(_verb(stage))


def _verb(stage: Stage) -> Callable[..., None]:
    def run(
        ctx: typer.Context,
        out: Annotated[Path | None, typer.Option(help="Run directory to work in.")] = None,
        config: Annotated[
            list[Path] | None, typer.Option(help="YAML file with settings; later ones win.")
        ] = None,
        track: Annotated[
            list[str] | None,
            typer.Option(help="Experiment tracker: tensorboard, wandb, mlflow or trackio."),
        ] = None,
        profile: Annotated[
            bool, typer.Option("--profile", help="Record a few steps as a trace.")
        ] = False,
        print_config: Annotated[
            bool, typer.Option("--print-config", help="Only print the settings, as YAML.")
        ] = False,
    ) -> None:
        if print_config:
            from instructgpt.config.load import dump_config, load_config

            print(dump_config(load_config(stage.config_class(), config or [], ctx.args)), end="")
            return
        if out is None:
            raise ConfigError("give the directory of the run as --out DIR")
        from instructgpt.cli.console import ConsoleObserver, closing_words
        from instructgpt.pipeline.run import run_stage

        if profile and not stage.has_steps:
            raise ConfigError(f"--profile: '{stage.stem}' has no steps to record; leave it out")
        outcome = run_stage(
            stage.stem,
            out,
            config or [],
            ctx.args,
            ConsoleObserver(),
            track=track or [],
            profile=profile,
        )
        closing_words([outcome])

    return run


def _command_class(stage: Stage) -> type[TyperCommand]:
    class StageCommand(TyperCommand):
        """A command whose help also lists the verbs below the stage, and its settings."""

        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            for option in self.params:
                if option.name == "profile" and not stage.has_steps:
                    option.hidden = True  # type: ignore[attr-defined]

        def format_help(self, ctx: Any, formatter: Any) -> None:
            """Print the options, then the verbs, then the settings."""
            super().format_help(ctx, formatter)
            from instructgpt.config.describe import describe

            _print_verbs(verbs_beside(ctx))
            _print_settings(describe(stage.config_class()))

    return StageCommand


def _print_verbs(verbs: list[tuple[str, str]]) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(highlight=False)
    if verbs:
        console.print(Text("Also, each with its own --help:\n"))
    for name, purpose in verbs:
        console.print(Text(f"  {name}", style="bold cyan"))
        console.print(Padding(Text(purpose), (0, 0, 0, 8)))
    if verbs:
        console.print()


def _print_settings(rows: list[Row]) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(highlight=False)
    console.print(Text("Settings, as --KEY VALUE or KEY=VALUE, or in a YAML file:\n"))
    for row in rows:
        line = Text("  ")
        if row.type == "section":
            line.append(f"{row.key}.", style="bold")
        else:
            # what stands in an entry of a list or map has no flag of its own
            flag = row.key if "[" in row.key else f"--{row.key}"
            line.append(flag, style="bold cyan")
            line.append(f"  {row.type}")
            line.append(f"  [{row.default}]", style="dim" if row.default != "required" else "red")
        console.print(line)
        console.print(Padding(Text(row.doc), (0, 0, 0, 8)))
    console.print()
