"""The world itself: who lives where, works as what, keeps which pet and likes which food.

Everything the pretraining documents tell, the tasks ask and the gold score checks comes from one
`World`. Some combinations are held out: documents tell them, no training prompt or demonstration
ever touches them, so evaluation can ask whether a skill reaches facts it was never shown on.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from instructgpt.errors import DataError
from instructgpt.microworld.lexicon import (
    ATTRIBUTES,
    NAMES,
    OBJECTS,
    PLACES,
    VERBS,
    Name,
    Word,
)

NAME_BY_EN = {name.en: name for name in NAMES}
WORD_BY_EN = {
    word.en: word for words in (*ATTRIBUTES.values(), OBJECTS, PLACES, VERBS) for word in words
}


@dataclass(frozen=True, slots=True)
class Fact:
    """`person` (English name) has `value` (English bare word) for `attribute`."""

    person: str
    attribute: str
    value: str


@dataclass(frozen=True, slots=True)
class Event:
    """Somebody did something to an object somewhere."""

    person: str
    verb: str
    object: str
    place: str


@dataclass(frozen=True)
class World:
    """Known people with facts, unknown people without, and what is held out from training.

    `held_out_facts`: (person, attribute), for known and unknown people alike.
    `held_out_actions`: (verb, object) pairs of events.
    """

    people: tuple[str, ...]
    unknown: tuple[str, ...]
    facts: dict[tuple[str, str], str]
    held_out_facts: frozenset[tuple[str, str]]
    held_out_actions: frozenset[tuple[str, str]]

    @classmethod
    def generate(
        cls, seed: int = 0, people: int = 16, unknown: int = 4, held_out: float = 0.15
    ) -> World:
        """A world that is a function of its arguments alone.

        `held_out` is the share of combinations kept away from training. Raises DataError when the
        lexicon has fewer names than `people + unknown`.
        """
        if people + unknown > len(NAMES):
            raise DataError(
                f"microworld: people + unknown = {people + unknown}, but there are only "
                f"{len(NAMES)} names; lower one of them"
            )
        rng = random.Random(f"world:{seed}")
        names = [name.en for name in rng.sample(NAMES, people + unknown)]
        known, strangers = tuple(names[:people]), tuple(names[people:])
        facts = {}
        for attribute, words in ATTRIBUTES.items():
            for person, word in zip(known, _spread(words, people, rng), strict=True):
                facts[person, attribute] = word.en
        hidden = set()
        for attribute in ATTRIBUTES:
            hidden |= {(name, attribute) for name in _share(known, held_out, rng)}
            hidden |= {(name, attribute) for name in _share(strangers, held_out, rng)}
        actions = [(verb.en, thing.en) for verb in VERBS for thing in OBJECTS]
        return cls(
            known, strangers, facts, frozenset(hidden), frozenset(_share(actions, held_out, rng))
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Everyone, known and unknown."""
        return self.people + self.unknown

    def fact(self, person: str, attribute: str) -> Fact:
        """The fact of a known person."""
        return Fact(person, attribute, self.facts[person, attribute])

    def is_true(self, fact: Fact) -> bool:
        """Whether the world supports `fact`; nothing is true of an unknown person."""
        return self.facts.get((fact.person, fact.attribute)) == fact.value

    def random_event(self, rng: random.Random, held_out: bool | None = None) -> Event:
        """An event; `held_out` asks for an action inside or outside the held-out ones."""
        while True:
            verb, thing = rng.choice(VERBS).en, rng.choice(OBJECTS).en
            if held_out is None or ((verb, thing) in self.held_out_actions) == held_out:
                break
        return Event(
            person=rng.choice(self.names),
            verb=verb,
            object=thing,
            place=rng.choice(PLACES).en,
        )

    def to_dict(self) -> dict[str, object]:
        """A JSON form that `from_dict` reads back."""
        return {
            "people": list(self.people),
            "unknown": list(self.unknown),
            "facts": [[p, a, v] for (p, a), v in self.facts.items()],
            "held_out_facts": sorted([p, a] for p, a in self.held_out_facts),
            "held_out_actions": sorted([v, o] for v, o in self.held_out_actions),
        }

    @classmethod
    def from_dict(cls, data: dict[str, object]) -> World:
        """Read `to_dict`'s form; DataError when it is something else."""
        try:
            world = cls(
                people=tuple(data["people"]),
                unknown=tuple(data["unknown"]),
                facts={(p, a): v for p, a, v in data["facts"]},
                held_out_facts=frozenset((p, a) for p, a in data["held_out_facts"]),
                held_out_actions=frozenset((v, o) for v, o in data["held_out_actions"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"world.json: not a microworld ({error!r})") from error
        strange = [name for name in world.names if name not in NAME_BY_EN]
        if strange:
            raise DataError(f"world.json: unknown name {strange[0]!r}")
        return world

    @classmethod
    def read(cls, path: str | Path) -> World:
        """The world at `path`: a world.json, or a run directory that holds one.

        Errors: DataError.
        """
        file = Path(path)
        file = file / "world.json" if file.is_dir() else file
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"cannot read the world '{file}': {error.strerror}") from error
        except ValueError as error:
            raise DataError(f"{file}: not JSON ({error})") from error
        return cls.from_dict(data)


def name_of(person: str) -> Name:
    """The name entry of an English name."""
    return NAME_BY_EN[person]


def word_of(english: str) -> Word:
    """The word entry of an English bare word."""
    return WORD_BY_EN[english]


def _spread(words: Sequence[Word], count: int, rng: random.Random) -> list[Word]:
    """`count` words, every word about equally often, in random order."""
    chosen = [words[i % len(words)] for i in range(count)]
    rng.shuffle(chosen)
    return chosen


def _share(items: Sequence, fraction: float, rng: random.Random) -> list:
    """A random `fraction` of `items`, at least one unless the fraction is 0."""
    count = max(1, round(len(items) * fraction)) if fraction > 0 and items else 0
    return rng.sample(list(items), count)
