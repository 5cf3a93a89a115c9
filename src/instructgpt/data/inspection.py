"""What is in a data file, seen in one pass: format, counts, lengths, writing, repetitions."""

from __future__ import annotations

import hashlib
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from instructgpt.data.formats import FORMATS
from instructgpt.data.formats.base import Format, Omission, RowError
from instructgpt.data.problems import Problem
from instructgpt.data.readers import (
    Found,
    Origin,
    count_matches,
    named_format,
    open_parts,
    unknown_shape,
)
from instructgpt.data.records import Demonstration, Document, Prompt, Ranking, Record
from instructgpt.data.source import Columns, Source, open_sources

KINDS: dict[str, type] = {
    "rankings": Ranking,
    "demonstrations": Demonstration,
    "documents": Document,
    "prompts": Prompt,
}
"""From the richest on: a ranking holds a prompt, a prompt no ranking."""

_CHARACTERS_LOOKED_AT = 2000
_SCRIPTS = {"CJK": "Han", "HIRAGANA": "Kana", "KATAKANA": "Kana"}


@dataclass
class Survey:
    """One pass over a file or folder; lengths are in characters."""

    kind: str
    parts: list[tuple[str, str, str]] = field(default_factory=list)  # file, format, why
    num_records: int = 0
    prompt_chars: array[int] = field(default_factory=lambda: array("Q"))
    answer_chars: array[int] = field(default_factory=lambda: array("Q"))
    scripts: Counter[str] = field(default_factory=Counter)
    repeated: list[Origin] = field(default_factory=list)
    same_prompt: int = 0
    problems: list[Problem] = field(default_factory=list)
    examples: list[tuple[Origin, Any]] = field(default_factory=list)


def survey(
    path: str | Path,
    *,
    kind: str | None = None,
    format: str | None = None,
    columns: Columns | None = None,
    num_examples: int = 2,
) -> Survey:
    """Read everything once, as `kind` or the richest kind that the rows hold; keeps no records but
    the examples. Errors: DataError as the readers have them.
    """
    kind = kind or richest_kind(next(open_sources(path, columns)), format)
    found = Survey(kind)
    whole: set[bytes] = set()
    prompts: set[bytes] = set()
    for part in open_parts(path, KINDS[kind], format=format, columns=columns):
        found.parts.append((part.name, part.format.name, part.format.shape))
        for item in part:
            if isinstance(item, Found):
                origin = Origin(part.name, item.row)
                _count(found, item.record, origin, whole, prompts)
                if len(found.examples) < num_examples:
                    found.examples.append((origin, item.record))
            else:
                found.problems.append(item)
    return found


def richest_kind(source: Source, format: str | None) -> str:
    """The kind that says most of what the first rows hold. Errors: DataError for unknown rows."""
    if format is not None:
        chosen = named_format(format)
    elif source.is_text:
        chosen = FORMATS["text"]
    else:
        votes = count_matches(source)
        best = max(votes, key=lambda name: votes[name])
        if not votes[best]:
            raise unknown_shape(source)
        chosen = FORMATS[best]
    held = [name for name, kind in KINDS.items() if kind in chosen.parsers]
    rows = [row for _, row in source.first()]
    return next((name for name in held if _any_usable(rows, chosen, KINDS[name])), held[0])


def _any_usable(rows: Iterable[Any], format: Format, kind: type) -> bool:
    for row in rows:
        if isinstance(row, Mapping):
            try:
                records = format.parsers[kind](row)
            except RowError:
                continue
            if any(not isinstance(record, Omission) for record in records):
                return True
    return False


def _count(
    found: Survey, record: Record, origin: Origin, whole: set[bytes], prompts: set[bytes]
) -> None:
    prompt, answers = texts_of(record)
    found.num_records += 1
    found.prompt_chars.append(len(prompt))
    found.answer_chars.extend(map(len, answers))
    found.scripts[script(prompt + "".join(answers))] += 1
    everything = _digest([prompt, *answers])
    if everything in whole:
        found.repeated.append(origin)
    elif _digest([prompt]) in prompts:
        found.same_prompt += 1
    whole.add(everything)
    prompts.add(_digest([prompt]))


def texts_of(record: Record) -> tuple[str, tuple[str, ...]]:
    """All that stands before the answer, and the answers; a document is its own prompt."""
    if isinstance(record, Document):
        return record.text, ()
    prompt = record if isinstance(record, Prompt) else record.prompt
    before = "\n".join(message.content for message in prompt.messages)
    if isinstance(record, Demonstration):
        return before, (record.completion,)
    return before, record.completions if isinstance(record, Ranking) else ()


def script(text: str) -> str:
    """The writing that most letters of a text's beginning belong to, such as Latin or Han."""
    counts = Counter(_script_of(character) for character in text[:_CHARACTERS_LOOKED_AT])
    counts.pop("", None)
    return counts.most_common(1)[0][0] if counts else "no letters"


@lru_cache(maxsize=1 << 16)
def _script_of(character: str) -> str:
    if not unicodedata.category(character).startswith("L"):
        return ""
    first = unicodedata.name(character, "OTHER").split(" ")[0]
    return _SCRIPTS.get(first, first.capitalize())


def quantiles(values: Sequence[int]) -> tuple[int, int, int]:
    """Median, 95th percentile (nearest rank) and maximum of at least one value."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return ordered[last // 2], ordered[min(last, -(-len(ordered) * 95 // 100) - 1)], ordered[last]


def _digest(texts: Sequence[str]) -> bytes:
    joined = "\x1e".join(f"{len(text)}:{text}" for text in texts)
    return hashlib.blake2b(joined.encode("utf-8"), digest_size=16).digest()
