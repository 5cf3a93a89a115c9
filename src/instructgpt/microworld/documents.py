"""Pretraining documents: what a child of this world would have read. Never in instruction form.

Facts in several wordings, stories, stories with their gist, sentences beside their translation, and
reported conversations, in which people ask, answer, follow up and say that they do not know.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from instructgpt.data.records import Document
from instructgpt.microworld.lexicon import (
    ATTRIBUTES,
    LANGUAGES,
    OBJECTS,
    PLACES,
    VERBS,
    Language,
    Name,
    Word,
    other,
)
from instructgpt.microworld.phrasings import (
    FOLLOW_ATTRIBUTE,
    FOLLOW_PERSON,
    QUESTIONS,
)
from instructgpt.microworld.sentences import (
    FACTS,
    UNKNOWN,
    say_event,
    say_fact,
    say_unknown,
    say_value,
    subject,
)
from instructgpt.microworld.stories import join, tell_story
from instructgpt.microworld.world import Fact, World, name_of

Writer = Callable[[World, Language, random.Random], str]


def write_documents(world: World, count: int, seed: str) -> Iterator[Document]:
    """`count` documents, a function of the arguments alone; `seed` names the draw."""
    rng = random.Random(f"documents:{seed}")
    kinds, weights = zip(*((kind, weight) for kind, (weight, _) in WRITERS.items()), strict=True)
    for _ in range(count):
        kind = rng.choices(kinds, weights)[0]
        language = rng.choice(LANGUAGES)
        yield Document(WRITERS[kind][1](world, language, rng), {"kind": kind, "language": language})


def _profile(world: World, language: Language, rng: random.Random) -> str:
    """Two to four facts about one person; after the first, mostly with a pronoun."""
    person = rng.choice(world.people)
    attributes = rng.sample(list(ATTRIBUTES), rng.randint(2, 4))
    sentences = [
        _tell(world.fact(person, attribute), language, rng, pronoun=i > 0 and rng.random() < 0.6)
        for i, attribute in enumerate(attributes)
    ]
    return join(sentences, language)


def _tell(fact: Fact, language: Language, rng: random.Random, pronoun: bool = False) -> str:
    """A fact in its usual form most of the time."""
    forms = len(FACTS[language][fact.attribute])
    form = 0 if rng.random() < 0.65 else rng.randrange(1, forms)
    return say_fact(fact, language, form, pronoun)


def _random_fact(world: World, rng: random.Random) -> Fact:
    return world.fact(rng.choice(world.people), rng.choice(list(ATTRIBUTES)))


_GIST: dict[Language, str] = {"en": "{s} So {g}", "zh": "{s}就是说，{g}"}


def _story(world: World, language: Language, rng: random.Random) -> str:
    """A story and its gist."""
    event = world.random_event(rng)
    story = tell_story(event, language, rng)
    return _GIST[language].format(s=story, g=say_event(event, language))


_MEANS: dict[Language, tuple[str, ...]] = {
    "en": ('"{en}" is “{zh}” in Chinese.', '"{en}" means “{zh}”.'),
    "zh": ('“{zh}”用英文说是"{en}"。', '“{zh}”的意思是"{en}"。'),
}


def _parallel(world: World, language: Language, rng: random.Random) -> str:
    """A sentence and its translation, quoted."""
    said: dict[Language, str]
    if rng.random() < 0.4:
        fact = _random_fact(world, rng)
        said = {lang: _tell(fact, lang, rng) for lang in LANGUAGES}
    else:
        event = world.random_event(rng)
        said = {lang: say_event(event, lang) for lang in LANGUAGES}
    return rng.choice(_MEANS[language]).format(**said)


def _dictionary(world: World, language: Language, rng: random.Random) -> str:
    """A few words beside their translation, each quoted."""
    entries = []
    for _ in range(rng.randint(1, 3)):
        if rng.random() < 0.4:
            word: Name | Word = name_of(rng.choice(world.names))
        else:
            word = rng.choice(rng.choice((*ATTRIBUTES.values(), OBJECTS, PLACES, VERBS)))
        entries.append(rng.choice(_MEANS[language]).format(en=word.en, zh=word.zh))
    return join(entries, language)


_ECHO: dict[Language, tuple[str, ...]] = {
    "en": ('{a} said: "{s}" {b} said: "{s}"', '{a} and {b} said: "{s}" Yes, {s}'),
    "zh": ("{a}说：“{s}”{b}说：“{s}”", "{a}和{b}都说：“{s}”是的，{s}"),
}


def _echo(world: World, language: Language, rng: random.Random) -> str:
    """Something that happened, said and said again: the plainest lesson in copying."""
    first, second = rng.sample(world.names, 2)
    said = say_event(world.random_event(rng), language)
    form = rng.choice(_ECHO[language])
    return form.format(a=subject(first, language), b=subject(second, language), s=said)


_ASKED: dict[Language, tuple[str, str]] = {
    "en": ('{a} asked: "{q}"', '{b} said: "{r}"'),
    "zh": ("{a}问：“{q}”", "{b}说：“{r}”"),
}


def _talk(world: World, language: Language, rng: random.Random) -> str:
    """Two people talk about a third: one to three questions, each with its answer."""
    person, attribute = rng.choice(_people_to_ask(world, rng)), rng.choice(list(ATTRIBUTES))
    first, second = rng.sample([name for name in world.names if name != person], 2)
    question = rng.choice(QUESTIONS[language][attribute].seen[:2])
    lines = _exchange(world, language, rng, (first, second, person, attribute, question))
    for _ in range(rng.choice((0, 1, 1, 2))):
        if rng.random() < 0.5:
            person = rng.choice(_people_to_ask(world, rng))
            question = rng.choice(FOLLOW_PERSON[language].seen)
        else:
            attribute = rng.choice([a for a in ATTRIBUTES if a != attribute])
            question = rng.choice(FOLLOW_ATTRIBUTE[language][attribute].seen)
        lines += _exchange(world, language, rng, (first, second, person, attribute, question))
    return join(lines, language)


def _people_to_ask(world: World, rng: random.Random) -> tuple[str, ...]:
    return world.unknown if rng.random() < 0.2 else world.people


def _exchange(
    world: World, language: Language, rng: random.Random, turn: tuple[str, str, str, str, str]
) -> list[str]:
    """One question and its answer, quoted."""
    first, second, person, attribute, question = turn
    asked, said = _ASKED[language]
    filled = question.format(n=subject(person, language), p=name_of(person).pronoun(language))
    answer = answer_in_talk(world, language, rng, person, attribute)
    return [
        asked.format(a=subject(first, language), q=filled),
        said.format(b=subject(second, language), r=answer),
    ]


def answer_in_talk(
    world: World, language: Language, rng: random.Random, person: str, attribute: str
) -> str:
    """What somebody says when asked: a sentence, now and then a single word; or not knowing."""
    if person in world.unknown:
        return say_unknown(person, language, rng.randrange(len(UNKNOWN[language])))
    fact = world.fact(person, attribute)
    if rng.random() < 0.3:
        return say_value(fact.value, language)
    return _tell(fact, language, rng, pronoun=rng.random() < 0.15)


def _report(world: World, language: Language, rng: random.Random) -> str:
    """Somebody says something in one language and it is repeated in the other."""
    fact = _random_fact(world, rng)
    there = other(language)
    first, second = rng.sample([name for name in world.names if name != fact.person], 2)
    asked, said = _ASKED[language]
    question = rng.choice(QUESTIONS[language][fact.attribute].seen[:2])
    return join(
        [
            asked.format(
                a=subject(first, language), q=question.format(n=subject(fact.person, language))
            ),
            said.format(b=subject(second, language), r=_tell(fact, there, rng)),
        ],
        language,
    )


WRITERS: dict[str, tuple[float, Writer]] = {
    "profile": (0.30, _profile),
    "story": (0.18, _story),
    "echo": (0.08, _echo),
    "parallel": (0.18, _parallel),
    "dictionary": (0.06, _dictionary),
    "talk": (0.16, _talk),
    "report": (0.04, _report),
}
