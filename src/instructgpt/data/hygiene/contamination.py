"""Records that hold what an evaluation set asks: near-duplicates, and long quotations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from instructgpt.data.hygiene.near_duplicates import SimilarityIndex
from instructgpt.data.hygiene.shingles import Shingles
from instructgpt.data.hygiene.wording import answers, conversation, words
from instructgpt.data.records import Prompt, Record


class Overlap(NamedTuple):
    """Record `at` overlaps evaluation prompt `other`.

    Either `similarity` is their Jaccard, or `shared` is a sequence of words that both hold.
    """

    at: int
    other: int
    similarity: float | None
    shared: str | None


def overlaps(
    records: Sequence[Record],
    evaluation: Sequence[Prompt],
    threshold: float,
    ngram: int,
    folder: Path | None = None,
) -> Iterator[Overlap]:
    """The records whose prompt or text is a near-duplicate of an evaluation prompt, or quotes it.

    A quotation is a sequence of `ngram` words in the prompt, the text or an answer (13 in Brown et
    al. 2020, appendix C); an evaluation prompt with fewer words is found as a near-duplicate only.
    The evaluation prompts are in memory, the records are read twice; `folder` is for temporary
    files.
    """
    asked = [words(conversation(prompt)) for prompt in evaluation]
    quoted = {
        gram: i for i, own in reversed(list(enumerate(asked))) for gram in _ngrams(own, ngram)
    }
    prompts = (words(conversation(record)) for record in records)
    index = SimilarityIndex(Shingles(chain(asked, prompts), folder), threshold, folder)
    for one in range(len(asked)):
        index.add(one)
    for i, record in enumerate(records):
        alike = next(index.alike(len(asked) + i), None)
        if alike is not None:
            yield Overlap(i, alike.other, alike.similarity, None)
            continue
        texts = map(words, (conversation(record), *answers(record)))
        grams = (gram for own in texts for gram in _ngrams(own, ngram) if gram in quoted)
        gram = next(grams, None)
        if gram is not None:
            yield Overlap(i, quoted[gram], None, " ".join(gram))


def _ngrams(own: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(own[start : start + size]) for start in range(len(own) - size + 1)]
