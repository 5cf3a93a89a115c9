"""Task metrics: hand-worked values, the rouge-score package, sacrebleu itself."""

from __future__ import annotations

import random

import pytest

from instructgpt.evaluation.metrics import (
    classification_scores,
    corpus_translation_scores,
    detect_language,
    exact_match,
    normalize_answer,
    rouge_l,
    token_f1,
)


def test_normal_form():
    assert normalize_answer("The  Quick, brown fox!") == "quick brown fox"
    assert normalize_answer("他住在巴黎。") == "他住在巴黎"
    assert exact_match("An apple.", "apple")
    assert exact_match("巴黎。", "巴黎")
    assert not exact_match("Paris", "Rome")


def test_language_of_a_text():
    assert detect_language("Anna lives in Rome.") == "en"
    assert detect_language("Anna 住在罗马。") == "zh"


def test_token_f1_by_hand():
    """'lives in rome' vs 'anna lives in rome': 3 common, precision 1, recall 3/4: 6/7."""
    assert token_f1("Lives in Rome", "Anna lives in Rome.", "en") == pytest.approx(6 / 7)
    # characters: 住在罗马 vs 她住在巴黎: 2 common of 4 and 5
    assert token_f1("住在罗马", "她住在巴黎", "zh") == pytest.approx(2 * 2 / (4 + 5))
    assert token_f1("", "", "en") == 1.0
    assert token_f1("", "Rome", "en") == 0.0
    assert token_f1("rome rome", "rome", "en") == pytest.approx(2 / 3)


def test_rouge_l_by_hand():
    """Lin 2004: 'police kill the gunman' vs 'police killed the gunman': LCS 3 of 4 and 4."""
    assert rouge_l("police kill the gunman", "police killed the gunman", "en") == 0.75
    assert rouge_l("the gunman kill police", "police killed the gunman", "en") == 0.5
    # characters 罗马在住 vs 住在罗马: LCS 罗马, 2 of 4
    assert rouge_l("罗马在住", "住在罗马", "zh") == 0.5
    assert rouge_l("他叫Bob", "他是Bob。", "zh") == pytest.approx(2 / 3)
    assert rouge_l("", "anything", "en") == 0.0


def test_rouge_l_equals_the_package_in_english():
    scorer = pytest.importorskip("rouge_score.rouge_scorer", reason="an independent oracle")
    package = scorer.RougeScorer(["rougeL"])
    rng = random.Random(0)
    words = ["Anna", "lives", "in", "Rome", "and", "keeps", "a", "dog,", "isn't", "it?", "3.5", "-"]
    for _ in range(50):
        a, b = (" ".join(rng.choices(words, k=rng.randint(0, 12))) for _ in range(2))
        assert rouge_l(a, b, "en") == pytest.approx(package.score(b, a)["rougeL"].fmeasure)


def test_translation_scores_equal_sacrebleus_functions():
    sacrebleu = pytest.importorskip("sacrebleu", reason="the library behind the metric")
    predictions = ["安娜住在罗马，养了一只狗。", "鲍勃喜欢吃苹果。"]
    references = ["安娜住在罗马，她养了一只狗。", "鲍勃爱吃苹果。"]
    found = corpus_translation_scores(predictions, references, "zh")
    expected = sacrebleu.corpus_bleu(predictions, [references], tokenize="zh").score
    assert found["bleu"]["score"] == pytest.approx(expected)
    assert "tok:zh" in found["bleu"]["signature"]
    assert found["chrf"]["score"] == pytest.approx(
        sacrebleu.corpus_chrf(predictions, [references]).score
    )
    # without Chinese tokenisation a whole sentence is one or two words
    assert expected > 2 * sacrebleu.corpus_bleu(predictions, [references], tokenize="13a").score
    english = corpus_translation_scores(["Anna lives in Rome ."], ["Anna lives in Rome ."], "en")
    assert english["bleu"]["score"] == pytest.approx(100.0)
    assert "tok:13a" in english["bleu"]["signature"]


def test_classification_by_hand():
    """Predicted y y y n n ?, wanted y n y y n y: tp 2, fp 1, fn 2."""
    scores = classification_scores(["y", "y", "y", "n", "n", None], list("ynyyny"), "y")
    assert (scores.precision, scores.recall) == (pytest.approx(2 / 3), 0.5)
    assert scores.f1 == pytest.approx(4 / 7)
    nothing = classification_scores(["n"], ["n"], "y").to_dict()
    assert (nothing["precision"], nothing["recall"], nothing["f1"]) == (None, None, None)
