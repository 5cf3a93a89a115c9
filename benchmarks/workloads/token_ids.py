"""The token ids that both sides of a benchmark work on, and a fingerprint to prove it.

Everything is drawn from `random.Random(0)`, which gives the same numbers on every machine.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple

PAD, EOS, FIRST_WORD = 0, 2, 4


class Demonstration(NamedTuple):
    """A prompt and its completion with EOS, as token ids."""

    prompt: list[int]
    completion: list[int]


class RankedPrompt(NamedTuple):
    """A prompt and K completions with EOS, the best first."""

    prompt: list[int]
    completions: list[list[int]]

    def pairs(self) -> list[tuple[list[int], list[int]]]:
        """All C(K,2) comparisons: (better completion, worse completion)."""
        found = self.completions
        return [(found[i], found[j]) for i in range(len(found)) for j in range(i + 1, len(found))]


def prompts(count: int, vocab: int, shortest: int = 8, longest: int = 64) -> list[list[int]]:
    """Of `shortest` to `longest` random words."""
    rng = random.Random(0)
    return [_words(rng, vocab, rng.randint(shortest, longest)) for _ in range(count)]


def demonstrations(count: int, vocab: int) -> list[Demonstration]:
    """Prompts of 8 to 64 tokens, completions of 1 to 64 and EOS."""
    rng = random.Random(0)
    return [
        Demonstration(
            _words(rng, vocab, rng.randint(8, 64)), [*_words(rng, vocab, rng.randint(1, 64)), EOS]
        )
        for _ in range(count)
    ]


def ranked_prompts(count: int, vocab: int, completions: int) -> list[RankedPrompt]:
    """Prompts of 8 to 64 tokens, each with `completions` of 1 to 64 tokens and EOS."""
    rng = random.Random(0)
    return [
        RankedPrompt(
            _words(rng, vocab, rng.randint(8, 64)),
            [[*_words(rng, vocab, rng.randint(1, 64)), EOS] for _ in range(completions)],
        )
        for _ in range(count)
    ]


def documents(count: int, vocab: int, length: int) -> list[list[int]]:
    """Rows of exactly `length` tokens, each to be predicted."""
    rng = random.Random(0)
    return [_words(rng, vocab, length) for _ in range(count)]


def fingerprint(sequences: Iterable[Sequence[int]]) -> str:
    """The same for the same sequences in any order, and for no others."""
    lines = sorted(json.dumps(list(sequence)) for sequence in sequences)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def pairs_fingerprint(pairs: Iterable[tuple[Sequence[int], Sequence[int]]]) -> str:
    """Of (better, worse), each a prompt with its completion."""
    return fingerprint([*better, PAD, *worse] for better, worse in pairs)


def _words(rng: random.Random, vocab: int, count: int) -> list[int]:
    return [rng.randrange(FIRST_WORD, vocab) for _ in range(count)]
