"""`instructgpt data inspect FILE`: what was understood of a file, before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from instructgpt.errors import ConfigError

if TYPE_CHECKING:
    from instructgpt.data.inspection import Survey
    from instructgpt.data.readers import Origin

_LINES_OF_PROBLEMS = 10
_ROWS_NAMED = 5

File = Annotated[str, typer.Argument(help="File, folder, or hf:owner/name[:split].")]
FormatName = Annotated[
    str | None, typer.Option("--format", help="Format of all files. Default: told from the rows.")
]
Columns = Annotated[
    str | None,
    typer.Option("--columns", help="Keys to rename first: prompt=question,completion=reply."),
]


def add_to(group: typer.Typer) -> None:
    """Register the verb of this file."""
    group.command("inspect")(inspect)


def inspect(
    file: File,
    kind: Annotated[
        str | None,
        typer.Option(help="rankings, demonstrations, documents or prompts. Default: the richest."),
    ] = None,
    format: FormatName = None,
    columns: Columns = None,
    examples: Annotated[int, typer.Option(min=0, help="How many records to draw.")] = 2,
    model: Annotated[
        str | None, typer.Option(help="Draw tokens of this model's tokenizer and chat template.")
    ] = None,
    chat_template: Annotated[str | None, typer.Option(help="As in stage sft.")] = None,
) -> None:
    """Say what a data file was understood to be: format, counts, lengths, problems, examples."""
    from instructgpt.cli.console import say
    from instructgpt.cli.data_examples import draw, show
    from instructgpt.data.inspection import survey

    check_kind(kind, "--kind")
    found = survey(
        file, kind=kind, format=format, columns=read_columns(columns), num_examples=examples
    )
    _say_facts(found)
    renderer = None
    if model is not None and found.examples:
        from instructgpt.text.chat_template import ChatRenderer
        from instructgpt.text.tokenizer import load_tokenizer

        renderer = ChatRenderer(load_tokenizer(model, chat_template))
    for origin, record in found.examples:
        say()
        say(f"{origin}")
        for drawing in draw(record, renderer, "assistant"):
            show(drawing)


def _say_facts(found: Survey) -> None:
    from instructgpt.cli.console import say
    from instructgpt.data.inspection import quantiles
    from instructgpt.data.problems import problem_lines

    for name, format, shape in found.parts:
        say(f"format     {format}: {shape}  ({name})")
    say(f"records    {found.num_records} {found.kind}")
    scripts = ", ".join(f"{name} {count}" for name, count in found.scripts.most_common())
    say(f"writing    {scripts or '-'}")
    first = "text" if found.kind == "documents" else "prompt"
    for what, lengths in ((first, found.prompt_chars), ("answer", found.answer_chars)):
        if lengths:
            median, most, longest = quantiles(lengths)
            say(f"{what:<11}{median} characters (median), {most} (95 %), {longest} (longest)")
    if found.repeated:
        named = ", ".join(_place(found, origin) for origin in found.repeated[:_ROWS_NAMED])
        more = ", ..." if len(found.repeated) > _ROWS_NAMED else ""
        say(f"repeated   {len(found.repeated)} equal an earlier record (rows {named}{more})")
    if found.same_prompt:
        say(f"           {found.same_prompt} more have the prompt of an earlier one")
    lines = problem_lines(found.problems)
    say(f"problems   {len(found.problems)}")
    for line in lines[:_LINES_OF_PROBLEMS]:
        say(f"  {line}")
    if len(lines) > _LINES_OF_PROBLEMS:
        say(f"  ... and {len(lines) - _LINES_OF_PROBLEMS} more kinds")


def _place(found: Survey, origin: Origin) -> str:
    return str(origin.row) if len(found.parts) == 1 else str(origin)


def read_columns(text: str | None) -> dict[str, str]:
    """The value of --columns. Errors: ConfigError."""
    from instructgpt.config.data import parse_columns

    try:
        return parse_columns(text) if text else {}
    except ValueError as error:
        raise ConfigError(f"--columns: {error}") from error


def check_kind(kind: str | None, option: str) -> None:
    """ConfigError unless `kind` is one, or None."""
    from instructgpt.data.inspection import KINDS

    if kind is not None and kind not in KINDS:
        raise ConfigError(f"{option}: one of {', '.join(KINDS)}, not '{kind}'")
