"""The formats that people bring, one module each, and the one table of them.

A further format is a module with a `Format` and a line here. Order decides between formats that
match the same row: the narrower shape first.
"""

from __future__ import annotations

from instructgpt.data.formats.alpaca import ALPACA, ALPACA_RANKING
from instructgpt.data.formats.base import Format
from instructgpt.data.formats.hh import HH
from instructgpt.data.formats.messages import MESSAGES
from instructgpt.data.formats.preference import PREFERENCE
from instructgpt.data.formats.prompt_completion import PROMPT_COMPLETION, PROMPT_ONLY
from instructgpt.data.formats.ranking import RANKING
from instructgpt.data.formats.records import RECORDS
from instructgpt.data.formats.text import TEXT, WORK

FORMATS: dict[str, Format] = {
    known.name: known
    for known in (
        RECORDS,
        HH,
        PREFERENCE,
        RANKING,
        PROMPT_COMPLETION,
        MESSAGES,
        ALPACA_RANKING,
        ALPACA,
        PROMPT_ONLY,
        TEXT,
        WORK,
    )
}
