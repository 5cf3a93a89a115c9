"""A loop's settings as a whole, before anything runs: every stage, every '@NAME'.

What is wrong in a round would otherwise come to light hours later, when its start is made and its
prompts are there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from instructgpt.config.judges import RewardModelJudgeConfig
from instructgpt.config.load import did_you_mean
from instructgpt.config.loop import PLACES, Loop
from instructgpt.config.references import find_references
from instructgpt.errors import ConfigError
from instructgpt.pipeline.loop.references import Places, round_recipe, start_recipe, uses_people
from instructgpt.pipeline.plan import check_settings

Names = Iterator[tuple[str, str, str]]
"""("file:line: key", NAME, what stands below it) of every '@NAME/...'"""

_RUN = "that is the run that makes it; add /model"


def check_loop(loop: Loop) -> None:
    """Reads no file. Errors: ConfigError that names the key and its place."""
    for where, name, below in _names_of_start(loop):
        if name not in loop.start:
            why = f"`start` has no such stage{did_you_mean(name, loop.start)}"
            raise _wrong(where, name, below, why)
    for where, name, below in [*_models_of_round(loop), *_names_in_stages(loop)]:
        if name in PLACES:
            _check_place(loop, where, name, below)
        elif name not in loop.round:
            hint = did_you_mean(name, [*loop.round, *PLACES])
            raise _wrong(where, name, below, f"there is no such stage or place{hint}")
    _check_models(loop)
    _check_people(loop)
    check_settings(start_recipe(loop))
    # where no round is: only names and settings are looked at
    places = Places(Path("nowhere"), 0, Path("nowhere", "served"))
    check_settings(round_recipe(loop, places))


def _names_of_start(loop: Loop) -> Names:
    config = loop.config
    return _names(
        loop,
        {
            "served": config.served,
            "world": config.world,
            "prompts.known": config.prompts.known,
            "hygiene.evaluation": config.hygiene.evaluation,
            "demonstrations.also": config.demonstrations.also,
            "users.prompts": None if config.users is None else config.users.prompts,
        },
    )


def _models_of_round(loop: Loop) -> Names:
    config = loop.config
    judges = [j.model for j in config.compare.judges if isinstance(j, RewardModelJudgeConfig)]
    return _names(
        loop,
        {
            "candidate": config.candidate,
            "people.models": () if config.people is None else config.people.models,
            "compare.judges": judges,
        },
    )


def _names(loop: Loop, values: Mapping[str, Any]) -> Names:
    for key, name, below in find_references(values):
        yield loop.where(key), name, below


def _names_in_stages(loop: Loop) -> Names:
    for section in loop.round.values():
        for key, name, below in find_references(section.settings.values):
            yield f"{section.settings.origin(key)}: {section.name}.{key}", name, below


def _check_place(loop: Loop, where: str, name: str, below: str) -> None:
    if name == "start":
        stage = below.partition("/")[0]
        if stage not in loop.start:
            why = f"`start` has no stage '{stage}'{did_you_mean(stage, loop.start)}"
            raise _wrong(where, name, below, why)
    elif below and below not in PLACES[name]:
        files = PLACES[name]
        why = f"there are {', '.join(files)}" if files else "write '@served', the model itself"
        raise _wrong(where, name, below, why)


def _check_models(loop: Loop) -> None:
    """What must be models are, and not the folders of the runs that make them."""
    for where, name, below in _names(loop, {"served": loop.config.served}):
        if not below:
            raise _wrong(where, name, below, _RUN)
    for where, name, below in _models_of_round(loop):
        if name in ("prompts", "demonstrations", "people"):
            raise _wrong(where, name, below, "that is no model; name a stage's, as @STAGE/model")
        path = below.partition("/")[2] if name == "start" else below
        if name != "served" and not path:
            raise _wrong(where, name, below, _RUN)


def _check_people(loop: Loop) -> None:
    """Who ranks and who is read must be the same, and the models must be there by then."""
    reading = [name for name, section in loop.round.items() if uses_people(section)]
    people = loop.config.people
    if reading and people is None:
        raise ConfigError(f"{loop.source}: a stage reads '@people/...'; give `people:` too")
    if people is None:
        return
    if not reading:
        raise ConfigError(
            f"{loop.where('people')}: people rank, and no stage reads it; have `label` read "
            '"@people/rankings.jsonl" as its `people`'
        )
    earlier = list(loop.round)[: list(loop.round).index(reading[0])]
    for where, name, below in _names(loop, {"people.models": people.models}):
        if name not in PLACES and name not in earlier:
            why = f"it is made after people have ranked for '{reading[0]}'; move it before that"
            raise _wrong(where, name, below, why)


def _wrong(where: str, name: str, below: str, why: str) -> ConfigError:
    written = f"@{name}/{below}" if below else f"@{name}"
    return ConfigError(f"{where}: '{written}': {why}")
