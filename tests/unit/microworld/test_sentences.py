"""Whatever the grammar can say it reads back; whatever else arrives is garbage, never an error."""

from __future__ import annotations

import random
import string

import pytest

from instructgpt.microworld.lexicon import ATTRIBUTES, LANGUAGES
from instructgpt.microworld.sentences import (
    FACTS,
    language_of,
    read,
    resolve,
    say_event,
    say_fact,
    say_unknown,
    say_value,
)
from instructgpt.microworld.world import Event, Fact, World

WORLD = World.generate(0)


@pytest.mark.parametrize("language", LANGUAGES)
def test_facts_round_trip_in_every_form(language):
    for person, attribute in WORLD.facts:
        fact = WORLD.fact(person, attribute)
        for form in range(len(FACTS[language][attribute])):
            (statement,) = read(say_fact(fact, language, form))
            assert (statement.kind, statement.meaning) == ("fact", fact)
            assert statement.language == language


@pytest.mark.parametrize("language", LANGUAGES)
def test_events_values_and_not_knowing_round_trip(language):
    rng = random.Random(0)
    for _ in range(50):
        event = WORLD.random_event(rng)
        assert read(say_event(event, language))[0].meaning == event
    for words in ATTRIBUTES.values():
        for word in words:
            (statement,) = read(say_value(word.en, language))
            assert (statement.kind, statement.meaning, statement.bare) == ("value", word.en, True)
    assert read(say_unknown("Nora", language))[0].kind == "unknown"
    assert read(say_unknown("Nora", language, form=1))[0].meaning == "Nora"


def test_written_by_hand():
    assert read("Nora lives in Rome.")[0].meaning == Fact("Nora", "city", "Rome")
    assert read("诺拉养了猫。")[0].meaning == Fact("Nora", "pet", "cat")
    event = Event("Hugo", "lost", "key", "park")
    assert read("Hugo lost a key in the park.")[0].meaning == event
    assert read("雨果在公园丢了钥匙。")[0].meaning == event
    assert not read("a cat")[0].bare


def test_pronouns_mean_the_person_named_before_if_they_fit():
    _, second = read("Nora lives in Rome. She keeps a cat.")
    assert second.meaning == Fact("Nora", "pet", "cat")
    misfit = read("Nora lives in Rome. He keeps a cat.")[1]
    assert misfit.meaning.person not in WORLD.names
    alone = read("She keeps a cat.")[0]
    assert resolve(alone, "Nora").meaning == Fact("Nora", "pet", "cat")
    assert resolve(alone, "Hugo") == alone


def test_languages_are_told_by_script():
    assert language_of("Rome.") == "en"
    assert language_of("罗马。") == "zh"
    assert language_of("Nora住在Rome") is None
    assert language_of("123 ...") is None


@pytest.mark.parametrize(
    "text",
    [
        "Nora lives in Rom.",
        "lives in Rome.",
        "Nora Nora lives in Rome.",
        "<|end|>",
        "诺拉住在Rome。",
    ],
)
def test_near_misses_are_garbage(text):
    assert [statement.kind for statement in read(text)] == ["garbage"]


def test_any_text_is_read_without_an_error():
    rng = random.Random(0)
    letters = string.printable + "诺拉住在罗马。！？“”\u0000\ufffd🙂"
    for _ in range(500):
        text = "".join(rng.choice(letters) for _ in range(rng.randint(0, 60)))
        for statement in read(text):
            assert statement.kind in ("garbage", "value", "unknown")
