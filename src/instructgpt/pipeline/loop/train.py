"""Phase `trained`: the stages of a round, an ordinary recipe with run directories of its own."""

from __future__ import annotations

from dataclasses import replace

from instructgpt.config.recipe import Recipe
from instructgpt.errors import ConfigError
from instructgpt.loop.places import start_folder
from instructgpt.pipeline.loop.people import rank_by_people
from instructgpt.pipeline.loop.references import round_recipe, start_recipe, uses_people
from instructgpt.pipeline.loop.work import Work
from instructgpt.pipeline.plan import Plan, decide, plan_recipe
from instructgpt.pipeline.run import run_plan


def plan_start(work: Work) -> Plan:
    """The stages of the start."""
    return plan_recipe(start_recipe(work.loop), start_folder(work.root))


def check_start_is_the_same(work: Work) -> None:
    """Errors: ConfigError when the settings of the start are not those that it was made with."""
    first = work.path(work.config.served).relative_to(work.root).as_posix()
    begun = {"name": work.state.name, "served": work.state.past[0].path}
    for key, now in {"name": work.config.name, "served": first}.items():
        if now != begun[key]:
            raise ConfigError(
                f"{work.loop.where(key)}: the loop in '{work.root}' was begun with {begun[key]}, "
                f"which cannot become {now}; go back to it, or begin another loop with --out"
            )
    for name, action in decide(plan_start(work)).items():
        if action.kind != "skip":
            raise ConfigError(
                f"{work.loop.source}: the start of the loop in '{work.root}' is made, and its "
                f"stage '{name}' would have to be made again ({action.why}); go back to those "
                "settings, or begin another loop with --out"
            )


def train(work: Work) -> None:
    """Run the round's stages up to the candidate. Errors: Waiting while people have not ranked."""
    recipe = round_recipe(work.loop, work.places)
    before = _before_people(work, recipe)
    if before is not None:
        if before.sections:
            run_plan(plan_recipe(before, work.folder), observer=work.observer)
        rank_by_people(work)
    run_plan(plan_recipe(recipe, work.folder), observer=work.observer)
    candidate = work.round_path(work.config.candidate)
    if not candidate.is_dir():
        raise ConfigError(f"{work.loop.source}: candidate '{work.config.candidate}' was not made")
    work.note("trained", model=candidate.relative_to(work.root).as_posix())


def _before_people(work: Work, recipe: Recipe) -> Recipe | None:
    """The stages that run before people have ranked; None where no stage reads their rankings."""
    names = list(recipe.sections)
    reading = [name for name, section in work.loop.round.items() if uses_people(section)]
    if not reading:
        return None
    earlier = names[: names.index(reading[0])]
    return replace(recipe, sections={name: recipe.sections[name] for name in earlier})
