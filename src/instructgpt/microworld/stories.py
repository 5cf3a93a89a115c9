"""Short event stories in both languages, for documents and for the summarisation task."""

from __future__ import annotations

import random

from instructgpt.microworld.lexicon import Language
from instructgpt.microworld.sentences import say_place, subject
from instructgpt.microworld.world import Event, word_of

_OPEN: dict[Language, tuple[str, ...]] = {
    "en": ("{n} was {where}.", "{n} went out {where}."),
    "zh": ("{n}{where}。", "{n}出门{where}。"),
}
_DEED: dict[Language, tuple[str, ...]] = {
    "en": ("There {p} {verb} {object}.", "{P} {verb} {object} there."),
    "zh": ("{p}在那里{verb}{object}。", "在那里{p}{verb}{object}。"),
}
_AROUND: dict[Language, tuple[str, ...]] = {
    "en": ("It was warm.", "It rained.", "Many people were there."),
    "zh": ("天气很暖和。", "下雨了。", "那里有很多人。"),
}
_AFTER: dict[Language, tuple[str, ...]] = {
    "en": ("Then {p} went home.", "{P} was tired."),
    "zh": ("然后{p}回家了。", "{p}很累。"),
}


def tell_story(event: Event, language: Language, rng: random.Random) -> str:
    """Two to four sentences that tell `event`, and sometimes what does not matter."""
    around = rng.choice(_AROUND[language]) if rng.random() < 0.4 else None
    after = rng.choice(_AFTER[language]) if rng.random() < 0.3 else None
    parts = [rng.choice(_OPEN[language]), around, rng.choice(_DEED[language]), after]
    slots = {
        "n": subject(event.person, language),
        "p": subject(event.person, language, pronoun=True).lower(),
        "P": subject(event.person, language, pronoun=True),
        "where": say_place(event.place, language),
        "verb": word_of(event.verb).bare(language),
        "object": word_of(event.object).phrase(language),
    }
    return join([part.format(**slots) for part in parts if part is not None], language)


def join(sentences: list[str], language: Language) -> str:
    """Sentences to a text: English puts a space between them."""
    return (" " if language == "en" else "").join(sentences)
