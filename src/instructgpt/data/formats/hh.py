r"""HH transcripts: `chosen` and `rejected` are whole dialogues in one string each.

Turns begin with "\n\nHuman:" or "\n\nAssistant:"; the last assistant turn is the answer. White
space around a turn belongs to the transcript, not to what was said, and is taken off.
"""

from __future__ import annotations

import re

from instructgpt.data.formats.base import Format, Row, RowError, prompt_details, text_field
from instructgpt.data.formats.conversation import Turns, check_prompt, split_dialogue
from instructgpt.data.records import Message, Prompt, Ranking

_SPEAKER = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}
_BEGINNING = "\n\nHuman:"


def read_transcript(text: str) -> Turns:
    """The turns of a transcript."""
    before, *parts = _SPEAKER.split(text)
    if before.strip():
        raise RowError("text before the first 'Human:' turn")
    speakers, contents = parts[0::2], parts[1::2]
    return tuple(
        Message(_ROLES[speaker], content.strip())
        for speaker, content in zip(speakers, contents, strict=True)
    )


def _read(row: Row) -> tuple[Turns, str, str]:
    chosen = read_transcript(text_field(row, "chosen"))
    rejected = read_transcript(text_field(row, "rejected"))
    if not chosen or chosen[:-1] != rejected[:-1]:
        raise RowError("prompt differs between chosen and rejected")
    turns, answer = split_dialogue(chosen)
    _same_turns, other = split_dialogue(rejected)
    return turns, answer, other


def _make_prompt(row: Row, turns: Turns) -> Prompt:
    return Prompt(turns, **prompt_details(row, ("chosen", "rejected")))


def _prompt(row: Row) -> list[Prompt]:
    turns = read_transcript(text_field(row, "chosen"))
    if turns and turns[-1].role == "assistant":
        turns = turns[:-1]
    return [_make_prompt(row, check_prompt(turns))]


def _ranking(row: Row) -> list[Ranking]:
    turns, chosen, rejected = _read(row)
    if chosen == rejected:
        raise RowError("chosen and rejected are the same")
    return [Ranking(_make_prompt(row, turns), (chosen, rejected), (1, 2))]


def _matches(row: Row) -> bool:
    chosen, rejected = row.get("chosen"), row.get("rejected")
    return (
        isinstance(chosen, str)
        and isinstance(rejected, str)
        and "prompt" not in row
        and chosen.startswith(_BEGINNING)
        and rejected.startswith(_BEGINNING)
    )


HH = Format(
    name="hh",
    shape=r"chosen, rejected: transcripts of \n\nHuman: and \n\nAssistant: turns",
    matches=_matches,
    parsers={Prompt: _prompt, Ranking: _ranking},
)
