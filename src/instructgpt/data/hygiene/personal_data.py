"""Personal data in records: found by pattern and check, and dropped (paper 3.2) or masked.

English and Chinese. There is no pattern for a name: that takes a model, and would take the names of
a story too. Only what people wrote is read, not `meta`, `id` or `user`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from instructgpt.data.hygiene.personal_patterns import PATTERNS
from instructgpt.data.hygiene.wording import answers
from instructgpt.data.records import Demonstration, Document, Prompt, Record
from instructgpt.data.splits import prompt_of

# Full-width digits and signs, and the dashes and spaces of typesetting, one for one.
_PLAIN = str.maketrans(
    "０１２３４５６７８９＋－．＠（）Ｘ　\u00a0\u2010\u2011\u2012\u2013\u2212",
    "0123456789+-.@()X  -----",
)


class Match(NamedTuple):
    """Personal data at text[start:end]; `kind` is that of the pattern."""

    kind: str
    start: int
    end: int


def find_personal_data(text: str) -> list[Match]:
    """What in `text` is personal data, in order; where two kinds overlap, the first pattern's."""
    plain = text.translate(_PLAIN)
    found: list[Match] = []
    for pattern in PATTERNS:
        for match in pattern.expression.finditer(plain):
            start, end = match.span()
            overlaps = any(start < other.end and other.start < end for other in found)
            if not overlaps and pattern.is_real(match.group()):
                found.append(Match(pattern.kind, start, end))
    return sorted(found, key=lambda one: one.start)


def mask(text: str) -> str:
    """`text` with every piece of personal data replaced by its kind in brackets: [email]."""
    for match in reversed(find_personal_data(text)):
        text = f"{text[: match.start]}[{match.kind}]{text[match.end :]}"
    return text


def obscure(matched: str) -> str:
    """A matched text for the eyes of a reviewer: its first and last two characters, stars between.

    Enough to tell a phone number from a formula, not enough to call anybody.
    """
    shown = 2 if len(matched) >= 8 else 1
    return matched[:shown] + "*" * (len(matched) - 2 * shown) + matched[-shown:]


def texts_of(record: Record) -> list[str]:
    """Everything in a record that somebody wrote: text or turns, then answers."""
    if isinstance(record, Document):
        return [record.text]
    return [*(one.content for one in prompt_of(record).messages), *answers(record)]


def personal_data_in(record: Record) -> list[tuple[str, str]]:
    """(kind, matched text) of all personal data in a record."""
    return [
        (match.kind, text[match.start : match.end])
        for text in texts_of(record)
        for match in find_personal_data(text)
    ]


def mask_record(record: Record) -> Record:
    """The record with every text masked; who asked, who answered and the ranks stay."""
    if isinstance(record, Document):
        return replace(record, text=mask(record.text))
    if isinstance(record, Prompt):
        return _masked_prompt(record)
    prompt = _masked_prompt(record.prompt)
    if isinstance(record, Demonstration):
        return replace(record, prompt=prompt, completion=mask(record.completion))
    return replace(record, prompt=prompt, completions=tuple(map(mask, record.completions)))


def _masked_prompt(prompt: Prompt) -> Prompt:
    turns = (replace(one, content=mask(one.content)) for one in prompt.messages)
    return replace(prompt, messages=tuple(turns))
