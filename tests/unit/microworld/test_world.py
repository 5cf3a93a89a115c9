"""The world is a function of its arguments, and what it holds out stays out of training."""

from __future__ import annotations

import random

import pytest

from instructgpt.errors import DataError
from instructgpt.microworld.lexicon import ATTRIBUTES, NAMES, OBJECTS, PLACES, VERBS
from instructgpt.microworld.world import Fact, World


def test_same_seed_same_world_other_seed_other_world():
    assert World.generate(3).to_dict() == World.generate(3).to_dict()
    assert World.generate(3).facts != World.generate(4).facts


def test_everybody_known_has_every_attribute_and_strangers_have_none():
    world = World.generate(0, people=7, unknown=2)
    assert len(world.facts) == 7 * len(ATTRIBUTES)
    assert set(world.people).isdisjoint(world.unknown)
    assert not any(person in world.unknown for person, _ in world.facts)
    assert not world.is_true(Fact(world.unknown[0], "city", "Rome"))


def test_values_are_spread_evenly():
    world = World.generate(1, people=12)
    cities = [value for (_, attribute), value in world.facts.items() if attribute == "city"]
    assert sorted(cities.count(word.en) for word in ATTRIBUTES["city"]) == [2] * 6


def test_held_out_share_touches_every_attribute_for_known_and_unknown():
    world = World.generate(0, people=20, unknown=6, held_out=0.15)
    for attribute in ATTRIBUTES:
        people = {person for person, name in world.held_out_facts if name == attribute}
        assert len(people & set(world.people)) == 3
        assert len(people & set(world.unknown)) == 1
    assert len(world.held_out_actions) == round(0.15 * len(VERBS) * len(OBJECTS))


@pytest.mark.parametrize("held_out", [True, False])
def test_random_events_respect_the_stratum(held_out):
    world, rng = World.generate(0), random.Random(0)
    for _ in range(100):
        event = world.random_event(rng, held_out)
        assert ((event.verb, event.object) in world.held_out_actions) == held_out


def test_json_round_trip_and_broken_files():
    world = World.generate(5)
    assert World.from_dict(world.to_dict()) == world
    with pytest.raises(DataError, match="not a microworld"):
        World.from_dict({"people": []})
    with pytest.raises(DataError, match="'Zaphod'"):
        World.from_dict(world.to_dict() | {"unknown": ["Zaphod"]})


def test_more_people_than_names_is_one_clear_error():
    with pytest.raises(DataError, match=f"only {len(NAMES)} names"):
        World.generate(0, people=len(NAMES), unknown=1)


def test_names_are_told_apart_and_words_translate_one_to_one():
    assert len({name.zh[0] for name in NAMES}) == len({name.en for name in NAMES}) == len(NAMES)
    words = [word for table in (*ATTRIBUTES.values(), OBJECTS, PLACES, VERBS) for word in table]
    assert len({word.en for word in words}) == len({word.zh for word in words}) == len(words)
