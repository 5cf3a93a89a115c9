"""Alpaca rows: instruction, input, output, and LLaMA-Factory's additions system and history."""

from __future__ import annotations

from typing import Any

from instructgpt.data.formats.base import (
    Format,
    Row,
    RowError,
    filled_field,
    has,
    list_field,
    prompt_details,
    refuse_feedback,
    text_field,
)
from instructgpt.data.formats.conversation import check_candidates, check_prompt
from instructgpt.data.records import Demonstration, Message, Prompt, Ranking

KEYS = ("instruction", "input", "system", "history")


def alpaca_prompt(row: Row, *answers: str) -> Prompt:
    """The prompt of a row; `answers` names the keys that hold its answers.

    The user turn is the instruction, and the input on the next line where there is one.
    """
    turns = []
    system = text_field(row, "system", default="")
    if system:
        turns.append(Message("system", system))
    for question, answer in _history(row.get("history")):
        turns += [Message("user", question), Message("assistant", answer)]
    instruction = filled_field(row, "instruction")
    given = text_field(row, "input", default="")
    turns.append(Message("user", f"{instruction}\n{given}" if given else instruction))
    return Prompt(check_prompt(tuple(turns)), **prompt_details(row, {*KEYS, *answers}))


def _history(value: Any) -> list[tuple[str, str]]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise RowError(f"'history' is {type(value).__name__}, not a list of [question, answer]")
    for pair in value:
        if not (
            isinstance(pair, list) and len(pair) == 2 and all(isinstance(t, str) for t in pair)
        ):
            raise RowError("'history' is not a list of [question, answer]")
    return [(question, answer) for question, answer in value]


def _prompt(row: Row) -> list[Prompt]:
    return [alpaca_prompt(row, "output")]


def _demonstration(row: Row) -> list[Demonstration]:
    refuse_feedback(row)
    return [Demonstration(alpaca_prompt(row, "output"), filled_field(row, "output"))]


def _ranking(row: Row) -> list[Ranking]:
    answers = list_field(row, "output")
    if not all(isinstance(answer, str) for answer in answers):
        raise RowError("'output' is not a list of strings, best first")
    completions = check_candidates(answers)
    ranks = tuple(range(1, len(completions) + 1))
    return [Ranking(alpaca_prompt(row, "output"), completions, ranks)]


ALPACA_RANKING = Format(
    name="alpaca_ranking",
    shape="instruction, input?, system?, history?, output: a list, best first",
    matches=lambda row: has(row, "instruction", str) and has(row, "output", list),
    parsers={Prompt: _prompt, Ranking: _ranking},
)

ALPACA = Format(
    name="alpaca",
    shape="instruction, input?, output, system?, history?",
    matches=lambda row: has(row, "instruction", str) and not {"instances", "chosen"} & set(row),
    parsers={Prompt: _prompt, Demonstration: _demonstration},
)
