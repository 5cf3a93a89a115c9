"""What the calls of `InstructGPT` return: frozen, readable in a terminal and in a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from html import escape
from pathlib import Path
from typing import Any

from instructgpt.evaluation.win_rate import WinRate
from instructgpt.judging.intervals import Interval


class _Result:
    """One line for `print`, a table for a notebook; both leave out what a repr leaves out."""

    def __str__(self) -> str:
        parts = [f"{name} {_text(value)}" for name, value in self._shown()]
        return f"{type(self).__name__}: {', '.join(parts)}"

    def _shown(self) -> list[tuple[str, Any]]:
        return [(f.name, getattr(self, f.name)) for f in fields(self) if f.repr]  # type: ignore[arg-type]

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(_text(value))}</td></tr>"
            for name, value in self._shown()
        )
        return f"<table>{rows}</table>"


@dataclass(frozen=True)
class FitResult(_Result):
    """What `fit` did: optimizer steps, passes over the data, and the mean loss of the last pass."""

    steps: int
    epochs: float
    loss: float


@dataclass(frozen=True)
class AlignResult(_Result):
    """What `align` did.

    `reward_accuracy` is the reward model's on rankings of prompts it was not trained on (None for
    DPO). `summary` holds the numbers of the method's stage, `directory` the runs if they were kept.
    """

    method: str
    rankings: int
    prompts: int
    reward_accuracy: Interval | None
    summary: Mapping[str, Any] = field(repr=False)
    directory: Path | None = None


@dataclass(frozen=True)
class EvaluateResult(_Result):
    """What `evaluate` measured, and the answers themselves in the order of the prompts."""

    prompts: int
    exact_match: Interval
    f1: Interval
    rouge_l: Interval
    win_rate: WinRate | None
    answers: tuple[str, ...] = field(repr=False)


def _text(value: Any) -> str:
    if isinstance(value, WinRate):
        value = value.interval
    if isinstance(value, Interval):
        return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)
