"""`instructgpt loop`: what people use becomes the next model, and what is not better goes back."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from instructgpt.errors import ConfigError

_WAITING = 3  # neither done nor wrong: people must do something first

_Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The loop's folder.")]
_By = Annotated[str | None, typer.Option("--by", help="Who decides; default: the user's name.")]


def add_to(app: typer.Typer) -> None:
    """Register `loop` and its verbs."""
    group = typer.Typer(no_args_is_help=True)
    for verb in (run, status, promote, rollback, report):
        group.command(verb.__name__)(verb)
    app.add_typer(
        group,
        name="loop",
        rich_help_panel="Recipes",
        help="Rounds of collecting, learning and comparing: the next model from what people use.",
    )


def run(
    config: Annotated[str, typer.Argument(help="YAML file, or `quickstart` for the packaged one.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="The loop's folder. Default: runs/NAME.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Go on until so many are over; default: the file's.")
    ] = None,
    by: _By = None,
) -> None:
    """Work on a loop until its rounds are over, or people must do something first (exit code 3).

    Started again it goes on where it was, wherever it was stopped.
    """
    from instructgpt.cli.console import ConsoleObserver, say
    from instructgpt.cli.recipes import find_recipe
    from instructgpt.config.loop import load_loop
    from instructgpt.pipeline.loop.run import run_loop

    loop = load_loop(find_recipe(config, "loops"))
    root = out or Path("runs", loop.config.name)
    waiting = run_loop(loop, root, by=_name(by), rounds=rounds, observer=ConsoleObserver(), say=say)
    _show(root)
    if waiting is not None:
        say(waiting)
        raise typer.Exit(_WAITING)


def status(folder: _Folder) -> None:
    """What is served, what is being compared, and how every round ended."""
    _show(folder)


def promote(
    folder: _Folder,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Also if it has not been shown to be better.")
    ] = False,
    by: _By = None,
) -> None:
    """Serve the candidate that is being compared, if its intervals say that it is better."""
    from instructgpt.cli.console import say
    from instructgpt.pipeline.loop.decisions import promote as decide

    state = decide(folder, _name(by), anyway=anyway)
    say(f"served now: {state.served.name} ({folder / state.served.path})")


def rollback(folder: _Folder, by: _By = None) -> None:
    """Serve again what was served before; running servers take it up by themselves."""
    from instructgpt.cli.console import say
    from instructgpt.pipeline.loop.decisions import roll_back

    state = roll_back(folder, _name(by))
    say(f"served now: {state.served.name} ({folder / state.served.path})")


def report(folder: _Folder) -> None:
    """Write the report anew, as every round does at its end."""
    from instructgpt.cli.console import say
    from instructgpt.evaluation.loop_report import write_loop_report

    say(f"report    {write_loop_report(folder)}")


def _name(by: str | None) -> str:
    try:
        return by or getpass.getuser()
    except (OSError, KeyError) as error:
        raise ConfigError("this machine does not know your name; say it with --by NAME") from error


def _show(folder: Path) -> None:
    from instructgpt.cli.console import say, table
    from instructgpt.loop.view import comparison_text, round_rows, view

    seen = view(folder)
    say(f"{seen['name']}: {seen['served']} is served")
    compared = comparison_text(seen)
    if compared is not None:
        say(compared)
    if seen["rounds"]:
        table(["round", "state", "prompts", "demonstrations", "votes", "judges"], round_rows(seen))
