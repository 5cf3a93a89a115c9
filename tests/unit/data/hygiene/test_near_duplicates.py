"""The similarity join against all pairs of plain Python sets; nothing may be missed."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from instructgpt.data.hygiene.near_duplicates import clusters, near_duplicates
from instructgpt.data.hygiene.shingles import Shingles
from instructgpt.data.hygiene.wording import words


def triples(text: str) -> set[tuple[str, ...]]:
    own = words(text)
    return {tuple(own[i : i + 3]) for i in range(max(len(own) - 2, 1))} if own else set()


def brute_force(texts: list[str]) -> dict[tuple[int, int], float]:
    sets = [triples(text) for text in texts]
    return {
        (i, j): len(sets[i] & sets[j]) / len(sets[i] | sets[j]) if sets[i] and sets[j] else 0.0
        for i, j in combinations(range(len(texts)), 2)
    }


def varied_texts(seed: int, count: int = 150) -> list[str]:
    """Texts of few words, many of them another one with a word changed, added or cut."""
    draw = random.Random(seed)
    vocabulary = [*"abcdefgh", "猫", "狗", "3.14", "+"]
    texts = [["a"]]
    for _ in range(count):
        if draw.random() < 0.6:
            text = list(draw.choice(texts))
            place = draw.randrange(len(text))
            text[place : place + draw.randrange(2)] = draw.choices(vocabulary, k=draw.randrange(3))
        else:
            text = draw.choices(vocabulary, k=draw.randrange(1, 25))
        texts.append(text or ["a"])
    return [" ".join(text) for text in texts]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What's a C++ map?", ["what's", "a", "c", "+", "+", "map"]),
        ("猫有 3,5 条腿吗？", ["猫", "有", "3,5", "条", "腿", "吗"]),
        ("ＡＢＣ１２", ["abc", "12"]),
        ("2 + 2 = 4.", ["2", "+", "2", "=", "4"]),
        ("'Hello' — (he said)…", ["hello", "he", "said"]),
        ("?!", []),
    ],
)
def test_words_are_what_a_reader_compares(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_shingles_are_the_sets_of_triples_of_each_text() -> None:
    texts = [*varied_texts(1), "", "one", "one two"]
    made = Shingles(words(text) for text in texts)
    for i, text in enumerate(texts):
        assert len(made.of(i)) == len(triples(text))
        assert list(made.of(i)) == sorted(made.of(i))
    # an id is shared by two texts exactly when the triple is
    for i, j in combinations(range(40), 2):
        shared = set(made.of(i).tolist()) & set(made.of(j).tolist())
        assert len(shared) == len(triples(texts[i]) & triples(texts[j]))


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_what_stays_and_what_goes_is_what_all_pairs_say(seed: int, threshold: float) -> None:
    texts = varied_texts(seed)
    similarity = brute_force(texts)
    found = list(near_duplicates(texts, threshold))
    gone = {one.at for one in found}
    for one in found:
        assert one.similarity == pytest.approx(similarity[one.other, one.at])
        assert one.similarity >= threshold
        assert one.other not in gone
    kept = [i for i in range(len(texts)) if i not in gone]
    assert len(kept) < len(texts)
    assert all(similarity[i, j] < threshold for i, j in combinations(kept, 2))


@pytest.mark.parametrize("threshold", [0.4, 0.7, 0.9])
def test_clusters_are_the_connected_parts(threshold: float) -> None:
    texts = varied_texts(7)
    similarity = brute_force(texts)
    expected = list(range(len(texts)))
    changed = True
    while changed:  # the smallest label of a neighbour, until nothing moves
        changed = False
        for (i, j), value in similarity.items():
            if value >= threshold and expected[i] != expected[j]:
                expected[i] = expected[j] = min(expected[i], expected[j])
                changed = True
    assert list(clusters(texts, threshold)) == expected


def test_by_hand() -> None:
    # 4 and 5 triples, 4 of them shared: 4/5
    longer = "how do I cook rice at home"
    texts = ["How do I cook rice at...", longer, "what is 3 + 4", "what is 3 - 4", "?", "!"]
    assert [(one.at, one.other, one.similarity) for one in near_duplicates(texts, 0.8)] == [
        (1, 0, 0.8)
    ]
    assert list(near_duplicates(texts, 0.81)) == []
    assert list(near_duplicates([], 0.8)) == []
    with pytest.raises(ValueError, match="threshold"):
        list(near_duplicates(texts, 0))
