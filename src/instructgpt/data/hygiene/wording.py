"""What two records are compared by: the words of their conversation, without what never matters."""

from __future__ import annotations

import re
import unicodedata

from instructgpt.data.records import Demonstration, Document, Ranking, Record
from instructgpt.data.splits import prompt_of

# Scripts written without spaces between words: Han, kana, and their extensions.
_UNSPACED = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_SENTENCE_MARKS = r"""\s.,;:!?"'‘’“”()\[\]{}…—–。、《》〈〉「」『』【】〔〕·"""
_TOKEN = re.compile(
    rf"[{_UNSPACED}]"
    rf"|[^\W\d_{_UNSPACED}]+(?:['’][^\W\d_{_UNSPACED}]+)*"
    r"|\d+(?:[.,]\d+)*"
    rf"|[^\w{_SENTENCE_MARKS}]|_"
)


def words(text: str) -> list[str]:
    """The text as tokens: words, numbers, single Chinese or Japanese characters, and signs.

    English is compared by word: shingles of letters make any two questions of one pattern alike.
    Chinese is compared by character, because finding its words would need a dictionary. Case,
    width, white space and the marks of a sentence do not count; signs such as + - * = # do, since
    in mathematics and code they are the difference.
    """
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())


def conversation(record: Record) -> str:
    """What is compared: a document's text, or a prompt's turns without the system's.

    A system turn is often one text over a whole file, and would make all of its prompts alike.
    """
    if isinstance(record, Document):
        return record.text
    return "\n".join(one.content for one in prompt_of(record).messages if one.role != "system")


def answers(record: Record) -> tuple[str, ...]:
    """The completions of a record, if its kind has any."""
    if isinstance(record, Ranking):
        return record.completions
    return (record.completion,) if isinstance(record, Demonstration) else ()
