"""`instructgpt data convert FILE --to KIND --out OUT`: files of any format as our own records."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated, get_args

import typer

from instructgpt.cli.data_inspect import Columns, File, FormatName, check_kind, read_columns
from instructgpt.errors import ConfigError, DataError


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
    limit: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many records; default: all.")
    ] = None,
) -> None:
    """Write a file's records in the project's own form, row by row, and name what was left out."""
    from instructgpt.cli.console import say
    from instructgpt.data.inspection import KINDS
    from instructgpt.data.jsonl import write_jsonl
    from instructgpt.data.problems import problem_lines
    from instructgpt.data.readers import OnProblem, Reading
    from instructgpt.disk import disk_errors

    check_kind(to, "--to")
    if on_problem not in get_args(OnProblem):
        raise ConfigError(f"--on-problem: one of {', '.join(get_args(OnProblem))}")
    if not out.name.endswith((".jsonl", ".jsonl.gz")):
        raise ConfigError(f"--out: records are JSON lines; name the file {out.stem}.jsonl")
    with disk_errors(out):
        is_taken = out.exists()
    if is_taken:
        raise DataError(f"{out}: exists already; give another name as --out, or delete it first")
    reading = Reading(
        file, KINDS[to], format=format, columns=read_columns(columns), on_problem=on_problem
    )
    records = (record.to_dict() for _origin, record in islice(reading, limit))
    count = write_jsonl(out, records)
    say(f"{count} {to} in {out}")
    for line in problem_lines(reading.problems):
        say(f"  {line}")
