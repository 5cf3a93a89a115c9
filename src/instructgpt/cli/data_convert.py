"""`instructgpt data convert FILE --to KIND --out OUT`: files of any format as our own records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from instructgpt.cli.data_inspect import Columns, File, FormatName, check_kind, read_columns
from instructgpt.errors import ConfigError, DataError

if TYPE_CHECKING:
    from instructgpt.data.problems import Problem


def add_to(group: typer.Typer) -> None:
    """Register the verb of this file."""
    group.command("convert")(convert)


def convert(
    file: File,
    to: Annotated[str, typer.Option(help="rankings, demonstrations, documents or prompts.")],
    out: Annotated[Path, typer.Option(help="File to write, .jsonl or .jsonl.gz.")],
    format: FormatName = None,
    columns: Columns = None,
    on_problem: Annotated[
        str, typer.Option(help="skip, skip_broken or error, as in stage data.")
    ] = "skip",
) -> None:
    """Write a file's records in the project's own form, row by row, and name what was left out."""
    from instructgpt.cli.console import say
    from instructgpt.data.jsonl import write_jsonl
    from instructgpt.data.problems import problem_lines
    from instructgpt.data.readers import OnProblem

    check_kind(to, "--to")
    if on_problem not in get_args(OnProblem):
        raise ConfigError(f"--on-problem: one of {', '.join(get_args(OnProblem))}")
    if not out.name.endswith((".jsonl", ".jsonl.gz")):
        raise ConfigError(f"--out: records are JSON lines; name the file {out.stem}.jsonl")
    if out.exists():
        raise DataError(f"{out}: exists already; give another name as --out, or delete it first")
    problems: list[Problem] = []
    rows = _rows(file, to, format, read_columns(columns), on_problem, problems)
    count = write_jsonl(out, rows)
    say(f"{count} {to} in {out}")
    for line in problem_lines(problems):
        say(f"  {line}")


def _rows(
    file: str,
    kind: str,
    format: str | None,
    columns: dict[str, str],
    on_problem: str,
    problems: list[Problem],
) -> Iterator[dict[str, Any]]:
    """The JSON form of every record; problems go to the list, or stop the writing."""
    from instructgpt.data.inspection import KINDS
    from instructgpt.data.problems import BrokenProblem
    from instructgpt.data.readers import Found, nothing_usable, open_parts, refuse_broken

    count = 0
    for part in open_parts(file, KINDS[kind], format=format, columns=columns):
        for item in part:
            if isinstance(item, Found):
                count += 1
                yield item.record.to_dict()
            elif on_problem == "error":
                raise DataError(str(item))
            elif isinstance(item, BrokenProblem) and on_problem != "skip_broken":
                raise refuse_broken(item)
            else:
                problems.append(item)
    if not count:
        raise nothing_usable(file, KINDS[kind], problems[0])
