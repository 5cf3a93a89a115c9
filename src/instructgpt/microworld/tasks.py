"""Prompts of the four kinds of task, with what the gold score needs to judge an answer.

`Prompt.meta`:
    task              "qa", "dialogue", "summarization" or "translation"
    kind              the finer sort, a key of `KINDS`
    language          language of the prompt
    answer_language   language the answer must be in
    constraint        None, "one_word" or "language" (an answer language other than the prompt's)
    phrasing_held_out, fact_held_out
    gold              {"fact": [person, attribute, value]} | {"unknown": person}
                      | {"event": [person, verb, object, place]}
    people            who the conversation is about, newest last (for pronouns)
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from instructgpt.data.records import Message, Prompt
from instructgpt.microworld.lexicon import ATTRIBUTES, LANGUAGES, Language, other
from instructgpt.microworld.phrasings import (
    FOLLOW_ATTRIBUTE,
    FOLLOW_LANGUAGE,
    FOLLOW_PERSON,
    IN_OTHER_LANGUAGE,
    ONE_WORD,
    QUESTIONS,
    SUMMARISE,
    SUMMARISE_IN_OTHER,
    TRANSLATE,
)
from instructgpt.microworld.sentences import (
    FACTS,
    say_event,
    say_fact,
    subject,
)
from instructgpt.microworld.stories import tell_story
from instructgpt.microworld.world import Event, Fact, World, name_of


@dataclass(frozen=True)
class Draw:
    """One draw of a prompt: the world, the random stream, and which strata it comes from."""

    world: World
    rng: random.Random
    language: Language
    held_out_phrasing: bool = False
    held_out_fact: bool = False

    def topic(self, person: str | None = None) -> Fact:
        """A fact of the wanted stratum, about `person` if given and possible."""
        facts = [
            self.world.fact(*key)
            for key in self.world.facts
            if (key in self.world.held_out_facts) == self.held_out_fact
        ]
        about = [fact for fact in facts if fact.person == person]
        return self.rng.choice(about or facts)

    def stranger(self) -> tuple[str, str]:
        """An unknown person and an attribute, of the wanted stratum."""
        pairs = [
            (person, attribute)
            for person in self.world.unknown
            for attribute in ATTRIBUTES
            if ((person, attribute) in self.world.held_out_facts) == self.held_out_fact
        ]
        return self.rng.choice(pairs)

    def seen_fact(self, attribute: str | None = None, person: str | None = None) -> Fact | None:
        """A fact that training may touch, for the turns before the question; None without one."""
        facts = [
            self.world.fact(*key)
            for key in self.world.facts
            if key not in self.world.held_out_facts
            and attribute in (None, key[1])
            and person in (None, key[0])
        ]
        return self.rng.choice(facts) if facts else None

    def question(self, person: str, attribute: str, held_out: bool | None = None) -> str:
        """A question about `person`; `held_out` overrides the stratum of its phrasing."""
        chosen = self.held_out_phrasing if held_out is None else held_out
        forms = QUESTIONS[self.language][attribute].choose(chosen)
        return self.rng.choice(forms).format(n=subject(person, self.language))


def gold_of(meaning: Fact | Event | str) -> dict[str, Any]:
    """The JSON form of what a right answer means; a str is the unknown person asked about."""
    if isinstance(meaning, Fact):
        return {"fact": [meaning.person, meaning.attribute, meaning.value]}
    if isinstance(meaning, Event):
        return {"event": [meaning.person, meaning.verb, meaning.object, meaning.place]}
    return {"unknown": meaning}


def _prompt(
    draw: Draw,
    kind: str,
    turns: list[str],
    meaning: Fact | Event | str,
    people: list[str],
    answer_language: Language | None = None,
    constraint: str | None = None,
) -> Prompt:
    roles = ["user", "assistant"]
    messages = tuple(Message(roles[i % 2], text) for i, text in enumerate(turns))
    meta = {
        "task": TASK_OF[kind],
        "kind": kind,
        "language": draw.language,
        "answer_language": answer_language or draw.language,
        "constraint": constraint,
        "phrasing_held_out": draw.held_out_phrasing,
        "fact_held_out": draw.held_out_fact,
        "gold": gold_of(meaning),
        "people": people,
    }
    return Prompt(messages, meta=meta)


def _qa(draw: Draw) -> Prompt:
    fact = draw.topic()
    return _prompt(draw, "qa", [draw.question(fact.person, fact.attribute)], fact, [fact.person])


def _around(draw: Draw, table: dict[Language, Any], person: str, attribute: str) -> str:
    """A question inside a request; when the stratum is held out, the request's phrasing is."""
    question = draw.question(person, attribute, held_out=False)
    return draw.rng.choice(table[draw.language].choose(draw.held_out_phrasing)).format(q=question)


def _qa_one_word(draw: Draw) -> Prompt:
    fact = draw.topic()
    text = _around(draw, ONE_WORD, fact.person, fact.attribute)
    return _prompt(draw, "qa_one_word", [text], fact, [fact.person], constraint="one_word")


def _qa_other_language(draw: Draw) -> Prompt:
    fact = draw.topic()
    text = _around(draw, IN_OTHER_LANGUAGE, fact.person, fact.attribute)
    there = other(draw.language)
    return _prompt(draw, "qa_other_language", [text], fact, [fact.person], there, "language")


def _qa_unknown(draw: Draw) -> Prompt:
    person, attribute = draw.stranger()
    return _prompt(draw, "qa_unknown", [draw.question(person, attribute)], person, [person])


def _opening_turns(draw: Draw, fact: Fact) -> list[str]:
    """A question about a seen fact in a seen phrasing, and its answer."""
    form = draw.rng.randrange(len(FACTS[draw.language][fact.attribute]))
    question = draw.question(fact.person, fact.attribute, held_out=False)
    return [question, say_fact(fact, draw.language, form)]


def _follow_person(draw: Draw) -> Prompt:
    """A question, its answer, and the same question about somebody else, known or not."""
    if draw.rng.random() < 0.2:
        person, attribute = draw.stranger()
        meaning: Fact | str = person
    else:
        meaning = draw.topic()
        person, attribute = meaning.person, meaning.attribute
    turns, people = [], []
    for _ in range(draw.rng.choice((1, 1, 1, 2))):
        before = draw.seen_fact(attribute=attribute)
        if before is None or before.person in (person, *people):
            continue
        turns += _follow_or_open(draw, before, turns)
        people.append(before.person)
    if not turns:
        return _follow_person(draw)
    forms = FOLLOW_PERSON[draw.language].choose(draw.held_out_phrasing)
    turns.append(draw.rng.choice(forms).format(n=subject(person, draw.language)))
    return _prompt(draw, "follow_person", turns, meaning, [*people, person])


def _follow_or_open(draw: Draw, fact: Fact, turns: list[str]) -> list[str]:
    """The next question and answer: the whole question at first, then the short one."""
    if not turns:
        return _opening_turns(draw, fact)
    question = draw.rng.choice(FOLLOW_PERSON[draw.language].seen)
    asked = question.format(n=subject(fact.person, draw.language))
    return [asked, say_fact(fact, draw.language)]


def _follow_attribute(draw: Draw) -> Prompt:
    """A question, its answer, and another question about the same person."""
    fact = draw.topic()
    before = draw.seen_fact(person=fact.person)
    if before is None or before.attribute == fact.attribute:
        return _follow_attribute(draw)
    forms = FOLLOW_ATTRIBUTE[draw.language][fact.attribute].choose(draw.held_out_phrasing)
    pronoun = name_of(fact.person).pronoun(draw.language)
    question = draw.rng.choice(forms).format(p=pronoun)
    question = question[0].upper() + question[1:]
    turns = [*_opening_turns(draw, before), question]
    return _prompt(draw, "follow_attribute", turns, fact, [fact.person])


def _follow_language(draw: Draw) -> Prompt:
    """A question, its answer, and the wish to hear it in the other language."""
    fact = draw.topic()
    forms = FOLLOW_LANGUAGE[draw.language].choose(draw.held_out_phrasing)
    turns = [*_opening_turns(draw, fact), draw.rng.choice(forms)]
    there = other(draw.language)
    return _prompt(draw, "follow_language", turns, fact, [fact.person], there, "language")


def _summary(draw: Draw) -> Prompt:
    event, text = _story_request(draw, SUMMARISE)
    return _prompt(draw, "summary", [text], event, [event.person])


def _summary_other_language(draw: Draw) -> Prompt:
    event, text = _story_request(draw, SUMMARISE_IN_OTHER)
    there = other(draw.language)
    return _prompt(draw, "summary_other_language", [text], event, [event.person], there, "language")


def _story_request(draw: Draw, table: dict[Language, Any]) -> tuple[Event, str]:
    event = draw.world.random_event(draw.rng, held_out=draw.held_out_fact)
    story = tell_story(event, draw.language, draw.rng)
    form = draw.rng.choice(table[draw.language].choose(draw.held_out_phrasing))
    return event, form.format(s=story)


def _translate(draw: Draw) -> Prompt:
    """A sentence about a fact or an event, to be said in the other language."""
    meaning: Fact | Event
    if draw.rng.random() < 0.4:
        meaning = draw.topic()
        form = draw.rng.randrange(len(FACTS[draw.language][meaning.attribute]))
        sentence = say_fact(meaning, draw.language, form)
    else:
        meaning = draw.world.random_event(draw.rng, held_out=draw.held_out_fact)
        sentence = say_event(meaning, draw.language)
    form = draw.rng.choice(TRANSLATE[draw.language].choose(draw.held_out_phrasing))
    there = other(draw.language)
    text = form.format(s=sentence)
    return _prompt(draw, "translation", [text], meaning, [meaning.person], there, "language")


# kind -> (task, share of prompts, how to draw one)
KINDS: dict[str, tuple[str, float, Callable[[Draw], Prompt]]] = {
    "qa": ("qa", 0.18, _qa),
    "qa_one_word": ("qa", 0.10, _qa_one_word),
    "qa_other_language": ("qa", 0.10, _qa_other_language),
    "qa_unknown": ("qa", 0.08, _qa_unknown),
    "follow_person": ("dialogue", 0.10, _follow_person),
    "follow_attribute": ("dialogue", 0.08, _follow_attribute),
    "follow_language": ("dialogue", 0.04, _follow_language),
    "summary": ("summarization", 0.11, _summary),
    "summary_other_language": ("summarization", 0.05, _summary_other_language),
    "translation": ("translation", 0.16, _translate),
}
TASK_OF = {kind: task for kind, (task, _, _) in KINDS.items()}


def draw_prompt(
    world: World,
    rng: random.Random,
    held_out_phrasing: bool = False,
    held_out_fact: bool = False,
    kind: str | None = None,
    language: Language | None = None,
) -> Prompt:
    """One prompt of the given stratum; kind and language at random unless given."""
    if kind is None:
        kind = rng.choices(list(KINDS), [weight for _, weight, _ in KINDS.values()])[0]
    chosen = language or rng.choice(LANGUAGES)
    return KINDS[kind][2](Draw(world, rng, chosen, held_out_phrasing, held_out_fact))
