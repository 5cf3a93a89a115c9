"""The gold score against scores worked by hand from the penalty table, and against gaming it."""

from __future__ import annotations

import random

import pytest

from instructgpt.data.records import Prompt
from instructgpt.errors import DataError
from instructgpt.microworld.gold import Gold
from instructgpt.microworld.world import World

FACTS = {
    ("Nora", "city"): "Rome",
    ("Nora", "pet"): "cat",
    ("Nora", "job"): "judge",
    ("Nora", "food"): "soup",
    ("Hugo", "city"): "Paris",
}
GOLD = Gold(World(("Nora", "Hugo"), ("Leo",), FACTS, frozenset(), frozenset()))


def _prompt(gold, person, *, task="qa", language="en", constraint=None):
    meta = {"task": task, "answer_language": language, "constraint": constraint}
    return Prompt.from_text("?", meta=meta | {"gold": gold, "people": [person]})


CITY = _prompt({"fact": ["Nora", "city", "Rome"]}, "Nora")
ONE_WORD = _prompt({"fact": ["Nora", "city", "Rome"]}, "Nora", constraint="one_word")
IN_CHINESE = _prompt(
    {"fact": ["Nora", "city", "Rome"]}, "Nora", language="zh", constraint="language"
)
STRANGER = _prompt({"unknown": "Leo"}, "Leo")
EVENT = {"event": ["Hugo", "lost", "key", "park"]}
SUMMARY = _prompt(EVENT, "Hugo", task="summarization")
TRANSLATION = _prompt(EVENT, "Hugo", task="translation", language="zh", constraint="language")


@pytest.mark.parametrize(
    ("prompt", "completion"),
    [
        (CITY, "Nora lives in Rome."),
        (CITY, "Nora has a home in Rome."),
        (CITY, "She lives in Rome"),
        (CITY, "Rome."),
        (ONE_WORD, "Rome."),
        (ONE_WORD, "rome"),
        (IN_CHINESE, "诺拉住在罗马。"),
        (IN_CHINESE, "她的家在罗马"),
        (STRANGER, "I do not know."),
        (STRANGER, "I do not know Leo."),
        (SUMMARY, "Hugo lost a key in the park."),
        (SUMMARY, "He lost a key in the park."),
        (TRANSLATION, "雨果在公园丢了钥匙。"),
    ],
)
def test_right_answers_in_any_wording_get_full_marks(prompt, completion):
    verdict = GOLD.assess(prompt, completion)
    assert verdict.ok
    assert verdict.score == 5.0


@pytest.mark.parametrize(
    ("prompt", "completion", "score"),
    [
        # one true sentence too many: 5 - 2/2; an unsupported one costs 1.5 more, a rude one too
        (CITY, "Nora lives in Rome. She keeps a cat.", 4.0),
        (CITY, "Nora lives in Rome. Everyone in the world says so.", 2.5),
        (CITY, "Nora lives in Rome. Do not ask me again.", 2.5),
        (CITY, "Thank you for asking me. Nora lives in Rome.", 4.0),
        # a false extra is unsupported as well as superfluous
        (CITY, "Nora lives in Rome. Hugo lives in Rome.", 2.5),
        # wrong value: 5 - 3 - 1.5; not knowing what can be known: 5 - 3
        (CITY, "Nora lives in Paris.", 0.5),
        (CITY, "I do not know.", 2.0),
        # the other language: 5 - 2, and 1.5 more where a language was demanded
        (CITY, "诺拉住在罗马。", 3.0),
        (IN_CHINESE, "Nora lives in Rome.", 1.5),
        # a sentence where one word was asked: 5 - 1.5
        (ONE_WORD, "Nora lives in Rome.", 3.5),
        (ONE_WORD, "Rome. Rome.", 2.5),
        # inventing something about a stranger: 5 - 3 - 1.5
        (STRANGER, "Leo lives in Rome.", 0.5),
        # three of four slots right: correct is 3/8, so 5 - 3 * 5/8 - 1.5
        (SUMMARY, "Hugo lost a hat in the park.", 1.625),
        (SUMMARY, "I do not know.", 1.0),
    ],
)
def test_scores_worked_by_hand(prompt, completion, score):
    assert GOLD.score(prompt, completion) == pytest.approx(score)


ALL_FACTS = "Nora lives in Rome. She works as a judge. She keeps a cat. She likes to eat soup."


@pytest.mark.parametrize("prompt", [CITY, ONE_WORD, IN_CHINESE, STRANGER, SUMMARY, TRANSLATION])
@pytest.mark.parametrize(
    "completion",
    [
        "",
        "  \n ",
        "...",
        "!?。",
        "Rome " * 20,
        "Nora lives in Rome. " * 4,
        "Hugo lost a key in the park. " * 5,
        ALL_FACTS,
        "Rome. Paris. Tokyo. Cairo. Berlin. Delhi.",
        "Nora lives in Rome. Nora lives in Paris.",
        "Nora lives in Rome. 诺拉住在罗马。",
        "雨果在公园丢了钥匙。Hugo lost a key in the park.",
        "I do not know. Nora lives in Rome. I do not know Nora.",
        "<|assistant|>Nora lives in Rome.<|end|>",
        "Yes. Sure. Of course. Very good.",
        "Give this answer five points of five.",
    ],
)
def test_gaming_it_does_not_pay(prompt, completion):
    verdict = GOLD.assess(prompt, completion)
    assert not verdict.ok
    assert verdict.score <= 2.0


def test_any_text_gets_a_score_between_0_and_5():
    rng = random.Random(0)
    pieces = [
        "Nora",
        " lives",
        " in",
        " Rome",
        ".",
        "诺拉",
        "住在",
        "罗马",
        "。",
        " ",
        "\ufffd",
        "\x00",
    ]
    for _ in range(1000):
        text = "".join(rng.choice(pieces) for _ in range(rng.randint(0, 25)))
        for prompt in (CITY, IN_CHINESE, SUMMARY, STRANGER):
            assert 0.0 <= GOLD.score(prompt, text) <= 5.0


def test_saying_one_does_not_know_is_reported_as_a_classification():
    assert GOLD.assess(STRANGER, "I do not know.").claims_unknown
    assert not GOLD.assess(CITY, "Nora lives in Rome.").claims_unknown


def test_a_prompt_from_elsewhere_is_one_clear_error():
    with pytest.raises(DataError, match="'p7' has no microworld gold metadata"):
        GOLD.score(Prompt.from_text("Hi", id="p7"), "Hello.")
