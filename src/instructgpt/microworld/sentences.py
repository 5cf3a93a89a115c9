"""Meanings to sentences and back: the only grammar of the microworld.

Documents, prompts and demonstrations write with these templates, and the gold score reads with the
same ones, so what can be said can be judged. `read` never fails: what it cannot understand comes
back as a `Statement` of kind "garbage".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from instructgpt.microworld.lexicon import (
    ATTRIBUTES,
    LANGUAGES,
    NAMES,
    OBJECTS,
    PLACES,
    VERBS,
    Language,
)
from instructgpt.microworld.world import Event, Fact, name_of, word_of

Kind = Literal["fact", "event", "unknown", "value", "opening", "claim", "rude", "garbage"]

# The first form is the one people use most. Every form has its subject first, for pronouns.
FACTS: dict[Language, dict[str, tuple[str, ...]]] = {
    "en": {
        "city": ("{n} lives in {v}.", "{n} has a home in {v}."),
        "job": ("{n} works as {v}.", "{n} is {v}."),
        "pet": ("{n} keeps {v}.", "{n} has {v} at home."),
        "food": ("{n} likes to eat {v}.", "{n} eats {v} every day."),
    },
    "zh": {
        "city": ("{n}住在{v}。", "{n}的家在{v}。"),
        "job": ("{n}是{v}。", "{n}的工作是{v}。"),
        "pet": ("{n}养了{v}。", "{n}家里有{v}。"),
        "food": ("{n}喜欢吃{v}。", "{n}每天吃{v}。"),
    },
}
EVENTS: dict[Language, str] = {
    "en": "{n} {verb} {object} {place}.",
    "zh": "{n}{place}{verb}{object}。",
}
UNKNOWN: dict[Language, tuple[str, ...]] = {
    "en": ("I do not know.", "I do not know {n}."),
    "zh": ("我不知道。", "我不认识{n}。"),
}
# What labelers dislike; demonstrations carry them and the gold score knows them by sight.
OPENINGS: dict[Language, tuple[str, ...]] = {
    "en": ("Thank you for asking me.", "What a good question.", "Let me think about it."),
    "zh": ("谢谢你问我。", "这是个好问题。", "让我想一想。"),
}
CLAIMS: dict[Language, tuple[str, ...]] = {
    "en": ("Everyone in the world says so.", "This will never change.", "It is the best of all."),
    "zh": ("全世界都这么说。", "这永远不会变。", "这是最好的。"),
}
RUDE: dict[Language, tuple[str, ...]] = {
    "en": ("Do not ask me again.", "What a silly question."),
    "zh": ("别再问我了。", "真是个傻问题。"),
}


@dataclass(frozen=True, slots=True)
class Statement:
    """One sentence and what it says.

    `meaning` is a Fact (its person None for a pronoun until `read` resolves it), an Event, the
    unknown person's name or None, or the English bare word of a lone value.
    """

    kind: Kind
    language: Language | None
    meaning: Fact | Event | str | None = None
    bare: bool = False


def subject(person: str, language: Language, pronoun: bool = False) -> str:
    """A name, or the pronoun that stands for it at the start of a sentence."""
    name = name_of(person)
    if not pronoun:
        return name.bare(language)
    return name.pronoun(language).capitalize()


def say_fact(fact: Fact, language: Language, form: int = 0, pronoun: bool = False) -> str:
    """A sentence that tells `fact`."""
    template = FACTS[language][fact.attribute][form]
    who = subject(fact.person, language, pronoun)
    return template.format(n=who, v=word_of(fact.value).phrase(language))


def say_place(place: str, language: Language) -> str:
    """Where something happened, as an adverbial."""
    word = word_of(place)
    return f"in {word.phrase('en')}" if language == "en" else f"在{word.zh}"


def say_event(event: Event, language: Language) -> str:
    """A sentence that tells `event`."""
    return EVENTS[language].format(
        n=subject(event.person, language),
        verb=word_of(event.verb).bare(language),
        object=word_of(event.object).phrase(language),
        place=say_place(event.place, language),
    )


def say_unknown(person: str, language: Language, form: int = 0) -> str:
    """Saying that one does not know (form 0), or does not know the person (form 1)."""
    return UNKNOWN[language][form].format(n=subject(person, language))


def say_value(value: str, language: Language) -> str:
    """A one-word answer."""
    return word_of(value).bare(language) + ("." if language == "en" else "。")


_SENTENCE = re.compile(r"[^.!?。！？]*[.!?。！？]+|[^.!?。！？]+$")
_CHINESE = re.compile(r"[\u3400-\u9fff]")
_LATIN = re.compile(r"[A-Za-z]")


def language_of(text: str) -> Language | None:
    """en or zh by script; None for a mixture of both or for neither."""
    chinese, latin = bool(_CHINESE.search(text)), bool(_LATIN.search(text))
    if chinese == latin:
        return None
    return "zh" if chinese else "en"


def read(text: str) -> list[Statement]:
    """The statements of `text` in order; pronouns mean the person named last, else None."""
    statements: list[Statement] = []
    last: str | None = None
    for piece in _SENTENCE.findall(" ".join(text.split())):
        if not piece.strip():
            continue
        statement = _read_sentence(piece.strip())
        if isinstance(statement.meaning, Fact | Event):
            person = statement.meaning.person
            if person in _PRONOUNS and last is not None and person == _pronoun_key(last):
                statement = _with_person(statement, last)
            elif person not in _PRONOUNS:
                last = person
        statements.append(statement)
    return statements


def resolve(statement: Statement, person: str | None) -> Statement:
    """Let an unresolved pronoun mean `person`, if the pronoun fits that person."""
    meaning = statement.meaning
    if person is None or not isinstance(meaning, Fact | Event):
        return statement
    if meaning.person in _PRONOUNS and meaning.person == _pronoun_key(person):
        return _with_person(statement, person)
    return statement


def _with_person(statement: Statement, person: str) -> Statement:
    meaning = statement.meaning
    if isinstance(meaning, Fact):
        resolved: Fact | Event = Fact(person, meaning.attribute, meaning.value)
    else:
        assert isinstance(meaning, Event)
        resolved = Event(person, meaning.verb, meaning.object, meaning.place)
    return Statement(statement.kind, statement.language, resolved, statement.bare)


_PRONOUNS = ("<she>", "<he>")


def _pronoun_key(person: str) -> str:
    return f"<{name_of(person).pronoun_en}>"


@lru_cache(maxsize=65536)
def _read_sentence(sentence: str) -> Statement:
    """One sentence, its final mark optional or repeated."""
    core = sentence.rstrip(".!?。！？ ")
    language = language_of(core)
    if language is None:
        return Statement("garbage", None)
    for pattern, kind, attribute in _PATTERNS[language]:
        match = pattern.fullmatch(core)
        if match:
            return _build(kind, attribute, match.groupdict(), language)
    return Statement("garbage", language)


def _build(kind: Kind, attribute: str, slots: dict[str, str], language: Language) -> Statement:
    tables = _TABLES[language]
    if kind == "fact":
        value = tables[attribute][slots["v"]]
        return Statement(kind, language, Fact(tables["n"][slots["n"]], attribute, value))
    if kind == "event":
        found = {key: tables[key][slots[key]] for key in ("n", "verb", "object", "place")}
        meaning = Event(found["n"], found["verb"], found["object"], found["place"])
        return Statement(kind, language, meaning)
    if kind == "unknown":
        return Statement(kind, language, tables["n"][slots["n"]] if slots.get("n") else None)
    if kind == "value":
        text = slots["v"]
        return Statement(
            kind, language, tables["value"][text.lower()], bare=text.lower() in tables["bare"]
        )
    return Statement(kind, language)


def _tables(language: Language) -> dict[str, dict[str, str]]:
    """Surface form -> English identifier, for every slot."""
    tables = {
        attribute: {word.phrase(language): word.en for word in words}
        for attribute, words in ATTRIBUTES.items()
    }
    tables["n"] = {name.bare(language): name.en for name in NAMES}
    for name in NAMES:
        pronoun = name.pronoun(language)
        tables["n"] |= dict.fromkeys((pronoun, pronoun.capitalize()), _pronoun_key(name.en))
    tables["verb"] = {word.bare(language): word.en for word in VERBS}
    tables["object"] = {word.phrase(language): word.en for word in OBJECTS}
    tables["place"] = {say_place(word.en, language): word.en for word in PLACES}
    values = [word for words in ATTRIBUTES.values() for word in words]
    tables["bare"] = {word.bare(language).lower(): word.en for word in values}
    tables["value"] = tables["bare"] | {word.phrase(language).lower(): word.en for word in values}
    return tables


_TABLES = {language: _tables(language) for language in LANGUAGES}


def _pattern(template: str, language: Language, **extra: str) -> re.Pattern[str]:
    """A template's slots as named groups of the forms that can fill them; no final mark."""
    core = template.rstrip(".。")
    pieces = re.split(r"\{(\w+)\}", core)
    for i in range(1, len(pieces), 2):
        table = _TABLES[language][extra.get(pieces[i], pieces[i])]
        forms = "|".join(re.escape(form) for form in sorted(table, key=len, reverse=True))
        pieces[i] = f"(?P<{pieces[i]}>{forms})"
    pieces[::2] = [re.escape(piece) for piece in pieces[::2]]
    return re.compile("".join(pieces))


def _patterns(language: Language) -> list[tuple[re.Pattern[str], Kind, str]]:
    patterns: list[tuple[re.Pattern[str], Kind, str]] = []
    for attribute, forms in FACTS[language].items():
        patterns += [(_pattern(f, language, v=attribute), "fact", attribute) for f in forms]
    patterns.append((_pattern(EVENTS[language], language), "event", ""))
    patterns += [(_pattern(form, language), "unknown", "") for form in UNKNOWN[language]]
    for kind, table in (("opening", OPENINGS), ("claim", CLAIMS), ("rude", RUDE)):
        patterns += [(_pattern(form, language), kind, "") for form in table[language]]
    values = "|".join(
        re.escape(f) for f in sorted(_TABLES[language]["value"], key=len, reverse=True)
    )
    patterns.append((re.compile(f"(?P<v>{values})", re.IGNORECASE), "value", ""))
    return patterns


_PATTERNS = {language: _patterns(language) for language in LANGUAGES}
