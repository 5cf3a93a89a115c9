"""`instructgpt data forget USER PATH...`: what a person asks for who wants their prompts back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_to(group: typer.Typer) -> None:
    """Register the verb of this file."""
    group.command("forget")(forget)


def forget(
    user: Annotated[str, typer.Argument(help="As in the rows' `user`.")],
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="JSON lines, label stores, judge calls, folders."),
    ],
    runs: Annotated[
        Path | None, typer.Option("--runs", help="Folder of runs: name those made from the rows.")
    ] = None,
) -> None:
    """Erase a user's prompts and everything said of them, in files and stores, for good.

    With --runs it also names the runs that were made from them, and so must be made again.
    """
    from instructgpt.cli.console import say
    from instructgpt.storage.fingerprint import fingerprint_file
    from instructgpt.storage.forgetting import (
        STORES,
        files_below,
        forget_rows,
        rows_of,
        runs_made_from,
    )
    from instructgpt.storage.judge_calls import JudgeCalls, is_judge_calls
    from instructgpt.storage.label_forgetting import forget_user, is_label_store
    from instructgpt.storage.label_store import LabelStore

    files = [file for path in paths for file in files_below(path)]
    databases = [file for file in files if file.name.endswith(STORES)]
    stores = [file for file in databases if is_label_store(file)]
    judged = [file for file in databases if is_judge_calls(file)]
    rows = [file for file in files if file not in databases]
    # everything is read once before anything is changed
    holding = [file for file in rows if rows_of(file, user)[1]]
    changed = {file: fingerprint_file(file) for file in holding}
    total = 0
    for file in holding:
        count = forget_rows(file, user)
        total += count
        say(f"{count:>7} rows   {file}")
    for file in stores:
        with LabelStore(file) as store:
            count = forget_user(store, user, "command line")
        total += count
        if count:
            changed[file] = ""
            say(f"{count:>7} tasks  {file}")
    for file in judged:
        with JudgeCalls(file) as calls:
            count = calls.forget_user(user)
        total += count
        if count:
            changed[file] = ""
            say(f"{count:>7} calls  {file}")
    if not total:
        say(f"nothing of '{user}' in {len(rows) + len(stores) + len(judged)} files")
    for run in [] if runs is None else runs_made_from(runs, changed):
        say(f"made from it, make it again: {run}")
