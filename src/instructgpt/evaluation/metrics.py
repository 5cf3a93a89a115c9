"""Task metrics against a reference text, aware of the language.

Chinese has no spaces: words are characters there and words in English. The usual ROUGE package
scores every Chinese text 0, because it knows letters and digits only.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Language = Literal["en", "zh"]

_ENGLISH_TOKEN = re.compile(r"[a-z0-9]+")
# A Chinese character by itself, or a run of letters and digits between them.
_CHINESE_TOKEN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[a-z0-9]+")
_CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_PUNCTUATION = set(string.punctuation) | set("，。！？；：、“”‘’（）《》〈〉【】「」『』—…·～")
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def detect_language(text: str) -> Language:
    """zh when the text has any Chinese character, else en."""
    return "zh" if _CHINESE.search(text) else "en"


def normalize_answer(text: str) -> str:
    """SQuAD's normal form: lower case, no punctuation (Chinese too), no articles, single spaces."""
    text = "".join(c for c in text.lower() if c not in _PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def exact_match(prediction: str, reference: str) -> bool:
    """Equality of the normal forms (Rajpurkar et al. 2016)."""
    return normalize_answer(prediction) == normalize_answer(reference)


def token_f1(prediction: str, reference: str, language: Language) -> float:
    """SQuAD's token F1: overlap of bags of words, or of characters in Chinese."""
    predicted = _answer_tokens(prediction, language)
    wanted = _answer_tokens(reference, language)
    if not predicted or not wanted:
        return float(predicted == wanted)
    common = sum((Counter(predicted) & Counter(wanted)).values())
    return _f_measure(common, len(predicted), len(wanted))


def rouge_l(prediction: str, reference: str, language: Language) -> float:
    """ROUGE-L F-measure (Lin 2004): longest common subsequence, harmonic mean of both shares."""
    predicted, wanted = (_rouge_tokens(t, language) for t in (prediction, reference))
    if not predicted or not wanted:
        return 0.0
    return _f_measure(_common_subsequence(predicted, wanted), len(predicted), len(wanted))


def corpus_translation_scores(
    predictions: Sequence[str], references: Sequence[str], language: Language
) -> dict[str, dict[str, Any]]:
    """BLEU and chrF of a corpus through sacrebleu, each with the signature that names its settings.

    `language` is that of the references: Chinese uses sacrebleu's `zh` tokenisation for BLEU; chrF
    reads characters in any language.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    scores = {}
    for name, metric in (
        ("bleu", BLEU(tokenize="zh" if language == "zh" else "13a")),
        ("chrf", CHRF()),
    ):
        score = metric.corpus_score(list(predictions), [list(references)]).score
        scores[name] = {"score": score, "signature": str(metric.get_signature())}
    return scores


@dataclass(frozen=True, slots=True)
class ClassificationScores:
    """Counts of one class against the rest, and what follows from them.

    A share whose denominator is 0 is None: nothing was predicted, or there was nothing to find.
    """

    true_positives: int
    false_positives: int
    false_negatives: int

    @property
    def precision(self) -> float | None:
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float | None:
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float | None:
        errors = self.false_positives + self.false_negatives
        return _share(2 * self.true_positives, 2 * self.true_positives + errors)

    def to_dict(self) -> dict[str, float | int | None]:
        """JSON form."""
        return {
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "true_positives": self.true_positives,
            "false_positives": self.false_positives,
            "false_negatives": self.false_negatives,
        }


def classification_scores(
    predicted: Sequence[object], wanted: Sequence[object], positive: object
) -> ClassificationScores:
    """Precision, recall and F1 of class `positive`; a prediction may be None (no class at all)."""
    pairs = list(zip(predicted, wanted, strict=True))
    return ClassificationScores(
        sum(p == positive and w == positive for p, w in pairs),
        sum(p == positive and w != positive for p, w in pairs),
        sum(p != positive and w == positive for p, w in pairs),
    )


def _answer_tokens(text: str, language: Language) -> list[str]:
    normal = normalize_answer(text)
    return _CHINESE_TOKEN.findall(normal) if language == "zh" else normal.split()


def _rouge_tokens(text: str, language: Language) -> list[str]:
    pattern = _CHINESE_TOKEN if language == "zh" else _ENGLISH_TOKEN
    return pattern.findall(text.lower())


def _common_subsequence(first: list[str], second: list[str]) -> int:
    """Length of the longest common subsequence; time |first| x |second|, memory |second|."""
    lengths = [0] * (len(second) + 1)
    for token in first:
        diagonal = 0
        for j, other in enumerate(second, start=1):
            above = lengths[j]
            lengths[j] = diagonal + 1 if token == other else max(above, lengths[j - 1])
            diagonal = above
    return lengths[-1]


def _f_measure(common: int, predicted: int, wanted: int) -> float:
    if common == 0:
        return 0.0
    precision, recall = common / predicted, common / wanted
    return 2 * precision * recall / (precision + recall)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
