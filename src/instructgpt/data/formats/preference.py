"""Pairs: `chosen` and `rejected` answers, with the prompt beside them or inside them."""

from __future__ import annotations

from typing import Any

from instructgpt.data.formats.alpaca import KEYS as ALPACA_KEYS
from instructgpt.data.formats.alpaca import alpaca_prompt
from instructgpt.data.formats.base import Format, Row, RowError, has, prompt_details
from instructgpt.data.formats.conversation import (
    check_answer,
    check_candidates,
    check_prompt,
    read_messages,
    split_dialogue,
    without_weights,
)
from instructgpt.data.formats.messages import read_dialogue
from instructgpt.data.formats.prompt_completion import read_turns
from instructgpt.data.records import Prompt, Ranking

_ANSWERS = ("chosen", "rejected")
_DIALOGUES = ("chosen_messages", "rejected_messages")
_CONVERSATION_KEYS = ("conversations", "system", "tools", "functions")


def _ranking(row: Row) -> list[Ranking]:
    prompt, chosen, rejected = _read(row)
    if chosen.strip() == rejected.strip():
        raise RowError("chosen and rejected are the same")
    return [Ranking(prompt, check_candidates((chosen, rejected)), (1, 2))]


def _prompt(row: Row) -> list[Prompt]:
    return [_read(row)[0]]


def _read(row: Row) -> tuple[Prompt, str, str]:
    prompt = _stated_prompt(row)
    prompts, answers = [], []
    for key in _keys(row):
        implied, answer = _candidate(row, key, prompt)
        prompts.append(implied)
        answers.append(answer)
    if prompts[0].messages != prompts[1].messages:
        raise RowError("prompt differs between chosen and rejected")
    return prompts[0], answers[0], answers[1]


def _keys(row: Row) -> tuple[str, str]:
    return _DIALOGUES if _DIALOGUES[0] in row else _ANSWERS


def _stated_prompt(row: Row) -> Prompt | None:
    if "prompt" in row:
        return Prompt(read_turns(row), **prompt_details(row, ("prompt", *_ANSWERS)))
    if "instruction" in row:
        return alpaca_prompt(row, *_ANSWERS)
    if "conversations" in row:
        turns = check_prompt(without_weights(read_dialogue(row, "conversations")))
        return Prompt(turns, **prompt_details(row, (*_CONVERSATION_KEYS, *_ANSWERS)))
    return None


def _candidate(row: Row, key: str, prompt: Prompt | None) -> tuple[Prompt, str]:
    """The prompt and the answer of one side.

    One message or a list of them, which may be the answer alone or the whole dialogue; a whole
    dialogue must begin with the stated prompt, where one is stated.
    """
    value: Any = row.get(key)
    if isinstance(value, str):
        if prompt is None:
            raise RowError("no prompt beside chosen and rejected")
        return prompt, check_answer(value)
    turns = without_weights(read_messages([value] if isinstance(value, dict) else value, key))
    if prompt is None:
        context, answer = split_dialogue(turns)
        details = prompt_details(row, (*_ANSWERS, *_DIALOGUES, *ALPACA_KEYS))
        return Prompt(check_prompt(context), **details), answer
    if turns[:-1] and turns[:-1] != prompt.messages:
        raise RowError(f"the dialogue in {key!r} does not begin with the prompt")
    _context, answer = split_dialogue((*prompt.messages, *turns[-1:]))
    return prompt, answer


def _matches(row: Row) -> bool:
    return all(has(row, key, str, list, dict) for key in _ANSWERS) or all(
        has(row, key, list) for key in _DIALOGUES
    )


PREFERENCE = Format(
    name="preference",
    shape="prompt?, instruction? or conversations?, chosen, rejected: strings, a message or lists; "
    "or chosen_messages, rejected_messages",
    matches=_matches,
    parsers={Prompt: _prompt, Ranking: _ranking},
)
