"""The formats that people bring, one module each, and the one table of them.

A further format is a module with a `Format` and a line here. Order decides between formats that
match the same row: the narrower shape first.
"""

from __future__ import annotations

from instructgpt.data.formats.alpaca import ALPACA, ALPACA_RANKING
from instructgpt.data.formats.base import Format
from instructgpt.data.formats.hh import HH
from instructgpt.data.formats.messages import MESSAGES, SHAREGPT
from instructgpt.data.formats.open_assistant import OPEN_ASSISTANT
from instructgpt.data.formats.preference import PREFERENCE
from instructgpt.data.formats.prompt_completion import PROMPT_COMPLETION, PROMPT_ONLY
from instructgpt.data.formats.ranking import RANKING
from instructgpt.data.formats.records import RECORDS
from instructgpt.data.formats.self_instruct import SELF_INSTRUCT
from instructgpt.data.formats.text import TEXT, WORK
from instructgpt.data.formats.turns import TURNS
from instructgpt.data.formats.ultrafeedback import ULTRAFEEDBACK
from instructgpt.data.formats.unpaired import UNPAIRED

FORMATS: dict[str, Format] = {
    known.name: known
    for known in (
        RECORDS,
        HH,
        PREFERENCE,
        ULTRAFEEDBACK,
        RANKING,
        OPEN_ASSISTANT,
        UNPAIRED,
        PROMPT_COMPLETION,
        MESSAGES,
        SHAREGPT,
        SELF_INSTRUCT,
        ALPACA_RANKING,
        ALPACA,
        TURNS,
        PROMPT_ONLY,
        TEXT,
        WORK,
    )
}
