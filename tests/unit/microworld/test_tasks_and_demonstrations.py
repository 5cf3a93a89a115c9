"""Training material never touches what is held out, and demonstrations have the promised flaws."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from instructgpt.microworld.demonstrations import FLAWS, demonstrate
from instructgpt.microworld.documents import write_documents
from instructgpt.microworld.gold import Gold
from instructgpt.microworld.lexicon import LANGUAGES
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
from instructgpt.microworld.sentences import read
from instructgpt.microworld.tasks import KINDS, draw_prompt
from instructgpt.microworld.world import Event, Fact, World

WORLD = World.generate(0, people=8, unknown=3)
GOLD = Gold(WORLD)


def _draws(count, seed=0, **stratum):
    rng = random.Random(seed)
    return [draw_prompt(WORLD, rng, **stratum) for _ in range(count)], rng


def _is_held_out(meaning):
    if isinstance(meaning, Fact):
        return (meaning.person, meaning.attribute) in WORLD.held_out_facts
    if isinstance(meaning, Event):
        return (meaning.verb, meaning.object) in WORLD.held_out_actions
    return False


def test_training_prompts_and_demonstrations_never_tell_what_is_held_out():
    prompts, rng = _draws(1500)
    for prompt in prompts:
        demonstration = demonstrate(WORLD, prompt, rng)
        texts = [m.content for m in prompt.messages if m.role == "assistant"]
        for statement in read(" ".join([*texts, demonstration.completion])):
            if isinstance(statement.meaning, Fact) and not WORLD.is_true(statement.meaning):
                continue
            assert not _is_held_out(statement.meaning) or demonstration.meta["flaw"] == "wrong"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_stratum_of_every_kind_asks_what_it_says(kind, language):
    rng = random.Random(1)
    for phrasing in (False, True):
        for fact in (False, True):
            prompt = draw_prompt(WORLD, rng, phrasing, fact, kind=kind, language=language)
            meta = prompt.meta
            assert (meta["kind"], meta["language"]) == (kind, language)
            assert (meta["phrasing_held_out"], meta["fact_held_out"]) == (phrasing, fact)
            assert (meta["constraint"] == "language") == (meta["answer_language"] != language)
            ((sort, value),) = meta["gold"].items()
            if sort == "fact":
                assert _is_held_out(Fact(*value)) == fact
                assert WORLD.is_true(Fact(*value))
            if sort == "event":
                assert _is_held_out(Event(*value)) == fact


def test_held_out_phrasings_are_not_among_the_seen_ones():
    tables = [ONE_WORD, IN_OTHER_LANGUAGE, FOLLOW_PERSON, FOLLOW_LANGUAGE]
    tables += [SUMMARISE, SUMMARISE_IN_OTHER, TRANSLATE]
    for language in LANGUAGES:
        nested = (*QUESTIONS[language].values(), *FOLLOW_ATTRIBUTE[language].values())
        for phrasings in (*(table[language] for table in tables), *nested):
            assert len(phrasings.held_out) >= 2
            assert set(phrasings.seen).isdisjoint(phrasings.held_out)
            assert len(set(phrasings.seen)) == len(phrasings.seen)


def test_documents_never_look_like_instructions_and_are_deterministic():
    documents = list(write_documents(WORLD, 400, "a"))
    assert documents == list(write_documents(WORLD, 400, "a"))
    assert documents != list(write_documents(WORLD, 400, "b"))
    instructions = [f.split("{")[0].strip() for t in (TRANSLATE, SUMMARISE) for f in t["en"].seen]
    for text in (document.text for document in documents):
        assert not any(start and text.startswith(start) for start in instructions)
        assert "<|" not in text
        assert "User" not in text


def test_documents_tell_the_truth_about_everyone_including_what_is_held_out():
    told = set()
    for document in write_documents(WORLD, 3000, "truth"):
        if document.meta["kind"] != "profile":
            continue
        for statement in read(document.text):
            assert WORLD.is_true(statement.meaning)
            told.add((statement.meaning.person, statement.meaning.attribute))
    assert told == set(WORLD.facts)


def test_clean_demonstrations_are_perfect_and_flawed_ones_are_not():
    prompts, rng = _draws(1500, seed=2)
    for prompt in prompts:
        demonstration = demonstrate(WORLD, prompt, rng)
        verdict = GOLD.assess(prompt, demonstration.completion)
        assert verdict.ok == (demonstration.meta["flaw"] is None), demonstration


def test_the_majority_is_flawed_after_or_before_the_answer():
    prompts, rng = _draws(3000, seed=3)
    flaws = Counter(demonstrate(WORLD, p, rng, flawed=0.75).meta["flaw"] for p in prompts)
    flawed = 1 - flaws[None] / 3000
    assert flawed == pytest.approx(0.75, abs=0.03)
    around = sum(flaws[name] for name in ("ramble", "claim", "opening", "rude"))
    assert around / (3000 - flaws[None]) > 0.85
    assert flaws["wrong"] / 3000 < 0.05
    assert set(flaws) - {None} == set(FLAWS)


def test_no_flaws_when_none_are_wanted():
    prompts, rng = _draws(200, seed=4)
    assert all(demonstrate(WORLD, p, rng, flawed=0.0).meta["flaw"] is None for p in prompts)
