"""Stage `microworld`: writes the world and everything that is drawn from it as record files."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from instructgpt.config.microworld import MicroworldConfig
from instructgpt.data.jsonl import write_jsonl
from instructgpt.data.records import Demonstration, Prompt
from instructgpt.errors import ConfigError
from instructgpt.microworld.demonstrations import demonstrate
from instructgpt.microworld.documents import write_documents
from instructgpt.microworld.tasks import draw_prompt
from instructgpt.microworld.world import World
from instructgpt.storage.atomic import atomic_write
from instructgpt.storage.run_dir import RunDir

# Draws per wanted prompt before giving up: a small world has only so many distinct prompts.
_PATIENCE = 50


def run(config: MicroworldConfig, run: RunDir) -> dict[str, Any]:
    """Write world.json, documents, demonstrations and prompts; returns their counts.

    Evaluation prompts are drawn first, and no training draw may repeat one of them; the number of
    draws that were turned away for that is reported.
    """
    world = World.generate(config.seed, config.people, config.unknown, config.held_out)
    atomic_write(run.path("world.json"), json.dumps(world.to_dict(), ensure_ascii=False, indent=1))
    drawing = Drawing(config, world)
    prompts = {"prompts_eval": drawing.evaluation_prompts(config.prompts_eval)}
    references = [
        demonstrate(world, prompt, drawing.rng("references"), flawed=0.0)
        for prompt in prompts["prompts_eval"]
    ]
    write_jsonl(run.path("references_eval.jsonl"), (d.to_dict() for d in references))
    valid = drawing.demonstrations("valid", config.demonstrations_valid, distinct=True)
    train = drawing.demonstrations("train", config.demonstrations, distinct=False)
    prompts["prompts_rank"] = drawing.training_prompts("rank", config.prompts_rank)
    prompts["prompts_ppo"] = drawing.training_prompts("ppo", config.prompts_ppo)
    for name, records in prompts.items():
        write_jsonl(run.path(f"{name}.jsonl"), (r.to_dict() for r in records))
    write_jsonl(run.path("demonstrations.jsonl"), (d.to_dict() for d in train))
    write_jsonl(run.path("demonstrations_valid.jsonl"), (d.to_dict() for d in valid))
    for name, count in (
        ("documents", config.documents),
        ("documents_heldout", config.documents_heldout),
    ):
        written = write_documents(world, count, f"{config.seed}:{name}")
        write_jsonl(run.path(f"{name}.jsonl"), (d.to_dict() for d in written))
    return {
        "facts": len(world.facts),
        "facts_held_out": len(world.held_out_facts & world.facts.keys()),
        "documents": config.documents,
        "demonstrations": len(train),
        "flawed_share": sum(d.meta["flaw"] is not None for d in train) / len(train),
        **{name: len(records) for name, records in prompts.items()},
        "draws_turned_away": drawing.turned_away,
    }


class Drawing:
    """Draws prompts so that evaluation and validation prompts never appear in training."""

    def __init__(self, config: MicroworldConfig, world: World) -> None:
        self.config = config
        self.world = world
        self.reserved: set[str] = set()
        self.turned_away = 0

    def evaluation_prompts(self, count: int) -> list[Prompt]:
        """Distinct prompts, a quarter from each of seen/held-out phrasing x seen/held-out fact."""
        rng = self.rng("eval")
        strata = [(phrasing, fact) for phrasing in (False, True) for fact in (False, True)]
        prompts: list[Prompt] = []
        for tries in range(count * _PATIENCE):
            phrasing, fact = strata[tries % 4]
            prompt = draw_prompt(self.world, rng, phrasing, fact)
            if prompt.key not in self.reserved:
                self.reserved.add(prompt.key)
                prompts.append(prompt)
            if len(prompts) == count:
                return prompts
        raise ConfigError(
            f"prompts_eval: this world has fewer than {count} distinct prompts to evaluate; ask "
            "for fewer, or for more people"
        )

    def demonstrations(self, name: str, count: int, *, distinct: bool) -> list[Demonstration]:
        """Demonstrations of prompts outside the reserved ones; distinct ones become reserved."""
        rng = self.rng(name)
        found: list[Demonstration] = []
        for prompt in self._fresh(rng, count):
            if distinct and prompt.key in self.reserved:
                continue
            if distinct:
                self.reserved.add(prompt.key)
            found.append(demonstrate(self.world, prompt, rng, self.config.flawed))
            if len(found) == count:
                break
        return found

    def training_prompts(self, name: str, count: int) -> list[Prompt]:
        """Prompts outside the reserved ones, each at most once while there are new ones."""
        seen: set[str] = set()
        found: list[Prompt] = []
        for prompt in self._fresh(self.rng(name), count * 4):
            if prompt.key not in seen:
                seen.add(prompt.key)
                found.append(prompt)
            if len(found) == count:
                break
        return found

    def _fresh(self, rng: random.Random, count: int) -> Iterator[Prompt]:
        """`count` draws of seen phrasings about seen facts, reserved prompts turned away."""
        for _ in range(count * 2):
            prompt = draw_prompt(self.world, rng)
            if prompt.key in self.reserved:
                self.turned_away += 1
                continue
            yield prompt

    def rng(self, name: str) -> random.Random:
        """The random stream called `name`."""
        return random.Random(f"{self.config.seed}:{name}")
