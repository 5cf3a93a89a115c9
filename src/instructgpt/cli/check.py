"""`instructgpt doctor`: what this machine can do, and how to mend what it cannot."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Register the verbs of this file."""
    app.command("doctor", rich_help_panel="Talk")(doctor)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="For programs and bug reports.")] = False,
) -> None:
    """Say what this machine can do: versions, devices, dtype and why, extras, disk."""
    from instructgpt.cli.console import say, table
    from instructgpt.cli.machine import examine

    findings = examine()
    if as_json:
        say(json.dumps([finding.to_dict() for finding in findings], ensure_ascii=False, indent=2))
    else:
        table(
            ["", "what", "found"],
            [["!" if one.remedy else "ok", one.what, one.found] for one in findings],
        )
        for one in findings:
            if one.remedy:
                say(f"{one.what}: {one.remedy}")
    if any(one.is_fatal for one in findings):
        raise typer.Exit(1)
