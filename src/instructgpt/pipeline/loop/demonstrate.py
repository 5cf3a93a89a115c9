"""Phase `demonstrated`: answers to the prompts of this round, and all that there were before."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from instructgpt.config.microworld import MicroworldConfig
from instructgpt.data.jsonl import write_jsonl
from instructgpt.data.readers import load_demonstrations, load_prompts
from instructgpt.data.records import Demonstration, Prompt
from instructgpt.errors import DataError
from instructgpt.loop.feedback import forgotten_users
from instructgpt.loop.places import FEEDBACK, LABELS
from instructgpt.microworld.demonstrations import demonstrate as write_one
from instructgpt.microworld.world import World
from instructgpt.pipeline.loop.collect import remembered
from instructgpt.pipeline.loop.people import demonstrations_by_people
from instructgpt.pipeline.loop.work import Work
from instructgpt.storage.atomic import publish_directory


def demonstrate(work: Work) -> None:
    """Write demonstrations/: new.jsonl of this round, and demonstrations.jsonl of all so far.

    Errors: Waiting while people have not answered all.
    """
    path = work.folder / "prompts" / "demonstrate.jsonl"
    prompts = load_prompts(path).records if work.config.prompts.demonstrate else []
    if work.config.demonstrations.by == "people":
        new = demonstrations_by_people(work.root / LABELS, prompts, work.number)
    else:
        new = list(_by_writers(work, prompts))
    with publish_directory(work.folder / "demonstrations", marker=None) as folder:
        write_jsonl(folder / "new.jsonl", (one.to_dict() for one in new))
        everything = list(_so_far(work, folder / "new.jsonl"))
        write_jsonl(folder / "demonstrations.jsonl", (one.to_dict() for one in everything))
    work.note("demonstrated", new=len(new), demonstrations=len(everything))


def _by_writers(work: Work, prompts: Sequence[Prompt]) -> Iterator[Demonstration]:
    """The microworld's hurried writers."""
    world = World.read(work.world)
    flawed = work.config.demonstrations.flawed
    share = MicroworldConfig().flawed if flawed is None else flawed
    for prompt in prompts:
        if "gold" not in prompt.meta:
            raise DataError(
                "simulated writers need to know what a prompt means; name the prompts that say so "
                "as prompts.known"
            )
        rng = random.Random(f"{work.config.seed}:write:{prompt.key}")
        yield write_one(world, prompt, rng, share)


def _so_far(work: Work, new: Path) -> Iterator[Demonstration]:
    for setting in work.config.demonstrations.also:
        yield from load_demonstrations(work.path(setting)).records
    before = [folder / "demonstrations" / "new.jsonl" for folder in work.rounds_before()]
    yield from remembered([*before, new], Demonstration, forgotten_users(work.root / FEEDBACK))
