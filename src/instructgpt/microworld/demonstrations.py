"""Demonstrations as hurried people write them: most are right, and most annoy labelers.

The flaws before or after the answer dominate and wrong facts are rare, so that a model trained on
them knows the answers and has habits to lose. Were fewer than half flawed, greedy decoding would
already be clean and reinforcement learning could only sharpen (measured; docs/LOG.md).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from instructgpt.data.records import Demonstration, Prompt
from instructgpt.microworld.lexicon import ATTRIBUTES, OBJECTS, PLACES, Language, other
from instructgpt.microworld.sentences import (
    CLAIMS,
    FACTS,
    OPENINGS,
    RUDE,
    say_event,
    say_fact,
    say_unknown,
    say_value,
)
from instructgpt.microworld.stories import join
from instructgpt.microworld.world import Event, Fact, World

# Share of each flaw among the flawed demonstrations.
FLAWS: dict[str, float] = {
    "ramble": 0.50,
    "claim": 0.28,
    "opening": 0.08,
    "rude": 0.06,
    "language": 0.03,
    "constraint": 0.03,
    "wrong": 0.02,
}
WRITERS = tuple(f"writer-{i}" for i in range(1, 9))


@dataclass(frozen=True)
class Writing:
    """One answer being written: the prompt, its meaning, and the random stream."""

    world: World
    prompt: Prompt
    meaning: Fact | Event | str
    rng: random.Random

    @property
    def language(self) -> Language:
        """The language the answer must be in."""
        return self.prompt.meta["answer_language"]

    def answer(
        self,
        meaning: Fact | Event | str | None = None,
        language: Language | None = None,
        one_word: bool | None = None,
    ) -> str:
        """A plain answer; the arguments replace what the prompt asks for."""
        meaning = self.meaning if meaning is None else meaning
        language = language or self.language
        if one_word is None:
            one_word = self.prompt.meta["constraint"] == "one_word"
        if isinstance(meaning, str):
            return say_unknown(meaning, language, int(self.rng.random() < 0.25))
        if isinstance(meaning, Event):
            return say_event(meaning, language)
        if one_word:
            return say_value(meaning.value, language)
        forms = len(FACTS[language][meaning.attribute])
        form = 0 if self.rng.random() < 0.85 else self.rng.randrange(1, forms)
        return say_fact(meaning, language, form)


def meaning_of(prompt: Prompt) -> Fact | Event | str:
    """What a right answer to `prompt` means, from its metadata."""
    ((sort, value),) = prompt.meta["gold"].items()
    if sort == "fact":
        return Fact(*value)
    return Event(*value) if sort == "event" else value


def demonstrate(
    world: World, prompt: Prompt, rng: random.Random, flawed: float = 0.72
) -> Demonstration:
    """A demonstration of `prompt`; `flawed` is the share that carries a flaw, named in its meta."""
    writing = Writing(world, prompt, meaning_of(prompt), rng)
    flaw = _choose_flaw(writing) if rng.random() < flawed else None
    return Demonstration(
        prompt=prompt,
        completion=_write(writing, flaw),
        labeler=rng.choice(WRITERS),
        meta={"flaw": flaw},
    )


def _choose_flaw(writing: Writing) -> str:
    """A flaw that this prompt can have."""
    possible = dict(FLAWS)
    if writing.prompt.meta["constraint"] != "one_word":
        del possible["constraint"]
    return writing.rng.choices(list(possible), list(possible.values()))[0]


def _write(writing: Writing, flaw: str | None) -> str:
    rng, language = writing.rng, writing.language
    if flaw == "language":
        return writing.answer(language=other(language))
    if flaw == "constraint":
        return writing.answer(one_word=False)
    if flaw == "wrong":
        return writing.answer(_wrong(writing))
    before, after = [], []
    if flaw == "ramble":
        after = [_ramble(writing)]
    elif flaw == "claim":
        after = [rng.choices(CLAIMS[language], (3, 1, 1))[0]]
    elif flaw == "rude":
        after = [rng.choice(RUDE[language])]
    elif flaw == "opening":
        before = [rng.choices(OPENINGS[language], (3, 1, 1))[0]]
    return join([*before, writing.answer(), *after], language)


def _ramble(writing: Writing) -> str:
    """A true fact nobody asked for; about the person in question if training may tell one."""
    world, rng = writing.world, writing.rng
    meaning = writing.meaning
    person = meaning if isinstance(meaning, str) else meaning.person
    asked = meaning.attribute if isinstance(meaning, Fact) else None
    open_facts = [key for key in world.facts if key not in world.held_out_facts and key[1] != asked]
    own = [key for key in open_facts if key[0] == person]
    key = rng.choice(own or open_facts)
    return say_fact(world.fact(*key), writing.language, pronoun=bool(own))


def _wrong(writing: Writing) -> Fact | Event | str:
    """A meaning that differs in one value, object or place; a guess for a stranger."""
    meaning, rng = writing.meaning, writing.rng
    if isinstance(meaning, str):
        attribute = rng.choice(list(ATTRIBUTES))
        return Fact(meaning, attribute, rng.choice(ATTRIBUTES[attribute]).en)
    if isinstance(meaning, Fact):
        values = [word.en for word in ATTRIBUTES[meaning.attribute] if word.en != meaning.value]
        return Fact(meaning.person, meaning.attribute, rng.choice(values))
    things = [word.en for word in OBJECTS if word.en != meaning.object]
    places = [word.en for word in PLACES if word.en != meaning.place]
    if rng.random() < 0.5:
        return Event(meaning.person, meaning.verb, rng.choice(things), meaning.place)
    return Event(meaning.person, meaning.verb, meaning.object, rng.choice(places))
