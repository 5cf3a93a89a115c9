"""`instructgpt run RECIPE` and `instructgpt quickstart`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from instructgpt.errors import ConfigError

_OVERRIDES = {"allow_extra_args": True, "ignore_unknown_options": True}

Out = Annotated[
    Path | None, typer.Option("--out", help="Directory of the run. Default: runs/NAME.")
]
Until = Annotated[str | None, typer.Option("--until", help="Last stage to run.")]
Start = Annotated[
    str | None, typer.Option("--from", help="Do this stage and all after it again, even if done.")
]
Track = Annotated[
    list[str] | None,
    typer.Option("--track", help="Experiment tracker: tensorboard, wandb, mlflow or trackio."),
]
Profile = Annotated[
    bool,
    typer.Option("--profile", help="Record a few steps of each training stage as a trace."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done, and why.")]


def add_to(app: typer.Typer) -> None:
    """Register the verbs of this file."""
    app.command("quickstart", context_settings=_OVERRIDES, rich_help_panel="Recipes")(quickstart)
    app.command("run", context_settings=_OVERRIDES, rich_help_panel="Recipes")(run)


def quickstart(
    ctx: typer.Context,
    out: Out = None,
    until: Until = None,
    start: Start = None,
    track: Track = None,
    profile: Profile = False,
    dry_run: DryRun = False,
) -> None:
    """All of InstructGPT on a small bilingual world, in minutes on a laptop.

    Settings can be overridden as STAGE.SETTING=VALUE, for example sft.epochs=1 or seed=1.
    """
    _run(find_recipe("quickstart"), out, until, start, track or [], profile, dry_run, ctx.args)


def run(
    ctx: typer.Context,
    recipe: Annotated[str, typer.Argument(help="YAML file, or the name of a packaged recipe.")],
    out: Out = None,
    until: Until = None,
    start: Start = None,
    track: Track = None,
    profile: Profile = False,
    dry_run: DryRun = False,
) -> None:
    """Run a recipe's stages in order; what is done and unchanged is skipped.

    Settings can be overridden after RECIPE as STAGE.SETTING=VALUE or --STAGE.SETTING VALUE, for
    example sft.optim.lr=1e-5 or seed=1.
    """
    if recipe.startswith("--"):
        raise ConfigError(f"write the recipe before its settings: instructgpt run RECIPE {recipe}")
    _run(find_recipe(recipe), out, until, start, track or [], profile, dry_run, ctx.args)


def find_recipe(name: str, kind: str = ".") -> Path:
    """The file called `name`, or the recipe of that name that came with the package; `kind` as in
    `packaged_recipes`.
    """
    if Path(name).is_file():
        return Path(name)
    packaged = packaged_recipes(kind)
    if name in packaged:
        return packaged[name]
    raise ConfigError(
        f"there is no recipe file '{name}'; give a YAML file or one of {', '.join(packaged)}"
    )


def packaged_recipes(kind: str = ".") -> dict[str, Path]:
    """Name -> file of the recipes in the wheel, or in the checkout that the package runs from;
    with `kind` = loops, those of loops.
    """
    package = Path(str(files("instructgpt")))
    folders = [package / "recipes" / kind, package.parents[1] / "recipes" / kind]
    found = [
        path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.yaml"))
    ]
    return {path.stem: path for path in reversed(found)}


def _run(
    recipe: Path,
    out: Path | None,
    until: str | None,
    start: str | None,
    track: list[str],
    profile: bool,
    dry_run: bool,
    flags: list[str],
) -> None:
    from instructgpt.cli.console import ConsoleObserver, closing_words, say, table
    from instructgpt.config.recipe import load_recipe
    from instructgpt.pipeline.plan import decide, plan_recipe, select_stages
    from instructgpt.pipeline.run import run_plan

    loaded = load_recipe(recipe)
    plan = plan_recipe(loaded, out or Path("runs", loaded.name), flags)
    if dry_run:
        actions = decide(plan, start)
        rows = [
            [
                planned.name,
                planned.stage.stem,
                actions[planned.name].kind,
                actions[planned.name].why,
            ]
            for planned in select_stages(plan, until)
        ]
        table(["stage", "kind", "action", "why"], rows)
        return
    say(f"{plan.name}: {len(plan.stages)} stages in {plan.root}")
    observer = ConsoleObserver()
    outcomes = run_plan(
        plan, until=until, start=start, track=track, profile=profile, observer=observer
    )
    closing_words(outcomes)
