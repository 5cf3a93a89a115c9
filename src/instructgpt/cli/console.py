"""What the command line prints: plain lines, tables, and the closing words of a recipe."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from instructgpt.pipeline.plan import Action
from instructgpt.pipeline.run import Observer, Outcome
from instructgpt.progress import format_numbers, format_seconds

_NUMBERS_SHOWN = 5
_PROBLEMS_SHOWN = 3
_CHAT_STEMS = ("ppo", "dpo", "sft")


class ConsoleObserver(Observer):
    """One line per stage: name, seconds, key numbers."""

    def skipped(self, outcome: Outcome, why: str) -> None:
        say(f"  {outcome.name:<14} {why}  ({format_seconds(outcome.seconds)})")

    def starting(self, name: str, stem: str, action: Action) -> None:
        kind = "" if name == stem else f" ({stem})"
        doing = {"run": "starting", "resume": "resuming", "again": "starting again"}
        why = "" if action.kind == "run" else f": {action.why}"
        say(f"> {name:<14} {doing.get(action.kind, action.kind)}{kind}{why}")

    def finished(self, outcome: Outcome) -> None:
        numbers = format_numbers(key_numbers(outcome.summary))
        say(f"  {outcome.name:<14} {format_seconds(outcome.seconds):>7}  {numbers}".rstrip())
        problems = outcome.summary.get("data_problems", [])
        for line in problems[:_PROBLEMS_SHOWN]:
            say(f"    {line}")
        if len(problems) > _PROBLEMS_SHOWN:
            say(f"    ... more in {outcome.path / 'done.json'}")


def say(text: str = "") -> None:
    """One line on standard output, at once: a log file or pipe must show how far a run is."""
    print(text, flush=True)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns with a ruled heading on a terminal, aligned plain lines elsewhere."""
    if sys.stdout.isatty():
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        drawn = Table(*headings, box=SIMPLE_HEAD)
        for row in rows:
            drawn.add_row(*(Text(cell) for cell in row))
        Console().print(drawn)
        return
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for row in [headings, *rows]:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        say("  ".join(cells).rstrip())


def key_numbers(summary: Mapping[str, Any]) -> dict[str, float]:
    """The first few plain numbers of a stage's summary."""
    numbers = {
        name: value
        for name, value in summary.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return dict(list(numbers.items())[:_NUMBERS_SHOWN])


def closing_words(outcomes: Sequence[Outcome]) -> None:
    """Win rates, the report's path and the command that talks to the newest policy."""
    total = sum(outcome.seconds for outcome in outcomes)
    say()
    say(f"{len(outcomes)} stages, {format_seconds(total)} of work")
    for outcome in outcomes:
        if outcome.stem == "report":
            say()
            _win_rate_table(outcome.path / "report.json")
            say(f"report    {outcome.path / 'report.html'}")
    model = _newest_policy(outcomes)
    if model is not None:
        say(f"talk      {command_name()} chat {model}")


def command_name() -> str:
    """How to start this program from here: the bare name if PATH finds this installation."""
    here = Path(sys.executable).parent / "instructgpt"
    found = shutil.which("instructgpt")
    if found is not None and Path(found).resolve() == here.resolve():
        return "instructgpt"
    if not here.exists():
        return f"{_relative(Path(sys.executable))} -m instructgpt"
    return str(_relative(here))


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _win_rate_table(path: Path) -> None:
    """The models of report.json against SFT, with 95 % intervals."""
    models = json.loads(path.read_text(encoding="utf-8")).get("models") or {}
    rows = [
        [
            name,
            _rate(model, "sampled"),
            _rate(model, "greedy"),
            _number(model.get("pretraining_loss")),
            _number(model.get("kl")),
        ]
        for name, model in models.items()
        if model
    ]
    if rows:
        say("wins against SFT on held-out prompts (95 % interval)")
        table(["model", "sampled", "greedy", "pretraining loss", "KL"], rows)


def _rate(model: Mapping[str, Any], condition: str) -> str:
    rate = (model.get("win_rate_vs_sft") or {}).get(condition)
    if not rate or rate.get("value") is None:
        return "-"
    return f"{rate['value']:.2f} [{rate['low']:.2f}, {rate['high']:.2f}]"


def _number(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("value")
    return "-" if value is None else f"{value:.3f}"


def _newest_policy(outcomes: Sequence[Outcome]) -> Path | None:
    for stem in _CHAT_STEMS:
        for outcome in reversed(outcomes):
            if outcome.stem == stem and (outcome.path / "model").is_dir():
                return outcome.path / "model"
    return None
