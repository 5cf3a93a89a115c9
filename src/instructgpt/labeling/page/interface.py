"""What the paper's labelers were asked (appendix B, figure 12 and table 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from instructgpt.errors import LabelError

USE_CASES = (
    "generation",
    "open_qa",
    "brainstorming",
    "chat",
    "rewrite",
    "summarization",
    "classification",
    "other",
    "closed_qa",
    "extract",
)
"""The paper's table 1, most frequent first."""

INSTRUCTION_FLAGS = (
    "pii",
    "closed_domain",
    "intent_unclear",
    "constraint",
    "asks_sexual",
    "asks_violent",
    "asks_encourages_harm",
    "asks_denigrates",
    "asks_advice",
    "asks_opinion",
    "asks_moral_judgment",
)
"""Yes or no about the instruction."""


@dataclass(frozen=True, slots=True)
class OutputFlag:
    """Yes or no about one answer; asked only if the instruction has the flag `only_if`."""

    name: str
    only_if: str | None = None


OUTPUT_FLAGS = (
    OutputFlag("fails_task"),
    OutputFlag("inappropriate"),
    OutputFlag("hallucination", only_if="closed_domain"),
    OutputFlag("satisfies_constraint", only_if="constraint"),
    OutputFlag("sexual"),
    OutputFlag("violent"),
    OutputFlag("encourages_harm"),
    OutputFlag("denigrates"),
    OutputFlag("harmful_advice"),
    OutputFlag("opinion"),
    OutputFlag("moral_judgment"),
)
LETTERS = "ABCDEFGHI"


def check_labels(flags: Mapping[str, Any], use_case: str | None) -> None:
    """Errors: LabelError for what the page does not ask."""
    if use_case is not None and use_case not in USE_CASES:
        raise LabelError(f"no use case '{use_case}'")
    of_outputs = {flag.name for flag in OUTPUT_FLAGS}
    for name, value in flags.items():
        if name not in of_outputs and name not in INSTRUCTION_FLAGS:
            raise LabelError(f"no flag '{name}'")
        if isinstance(value, list) != (name in of_outputs):
            raise LabelError(f"flag '{name}' is one value, or one of each answer")
