"""Questions of benchmarks such as MT-Bench: `turns`, which one user asks one after the other.

The first one is the prompt. What follows depends on answers that are not there yet; it is kept in
the prompt's meta as `turns`.
"""

from __future__ import annotations

from instructgpt.data.formats.base import Format, Row, RowError, has, list_field, prompt_details
from instructgpt.data.formats.conversation import check_prompt
from instructgpt.data.records import Message, Prompt


def _prompt(row: Row) -> list[Prompt]:
    questions = list_field(row, "turns")
    if not questions or not all(isinstance(question, str) for question in questions):
        raise RowError("'turns' is not a list of strings")
    details = prompt_details(row, () if len(questions) > 1 else ("turns",))
    return [Prompt(check_prompt((Message("user", questions[0]),)), **details)]


TURNS = Format(
    name="turns",
    shape="turns: a list of questions; the first one is the prompt",
    matches=lambda row: has(row, "turns", list),
    parsers={Prompt: _prompt},
)
