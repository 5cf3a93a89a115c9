"""`instructgpt data forget USER PATH...`: what a person asks for who wants their prompts back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer


def add_to(group: typer.Typer) -> None:
    """Register the verb of this file."""
    group.command("forget")(forget)


def forget(
    user: Annotated[str, typer.Argument(help="As in the rows' `user`.")],
    paths: Annotated[
        list[str],
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
    from instructgpt.storage.address import shown
    from instructgpt.storage.fingerprint import fingerprint_file
    from instructgpt.storage.forgetting import forget_rows, rows_of, runs_made_from

    rows, stores, judged = _places(paths)
    # everything is read once before anything is changed
    changed = {file: fingerprint_file(file) for file in rows if rows_of(file, user)[1]}
    erasures: list[tuple[str, str | Path, Callable[..., int]]] = [
        *(("rows", file, forget_rows) for file in changed),
        *(("tasks", address, _forget_in_store) for address in stores),
        *(("calls", file, _forget_in_calls) for file in judged),
    ]
    total = 0
    for what, place, erase in erasures:
        count = erase(place, user)
        total += count
        if count:
            say(f"{count:>7} {what:<6} {shown(place)}")
            if isinstance(place, Path):
                changed.setdefault(place, "")
    if not total:
        say(f"nothing of '{user}' in {len(rows) + len(stores) + len(judged)} files")
    for run in [] if runs is None else runs_made_from(runs, changed):
        say(f"made from it, make it again: {run}")


def _places(paths: list[str]) -> tuple[list[Path], list[str | Path], list[Path]]:
    """(files of rows, label stores, files of judge calls) that the arguments name or hold."""
    from instructgpt.storage.address import is_label_store, is_url, require_label_store
    from instructgpt.storage.forgetting import STORES, files_below
    from instructgpt.storage.judge_calls import is_judge_calls

    urls = [path for path in paths if is_url(path)]
    files = [file for path in paths if path not in urls for file in files_below(Path(path))]
    databases = [file for file in files if file.name.endswith(STORES)]
    for url in urls:
        require_label_store(url)
    stores = [file for file in databases if is_label_store(file)]
    judged = [file for file in databases if is_judge_calls(file)]
    return [file for file in files if file not in databases], [*stores, *urls], judged


def _forget_in_store(address: str | Path, user: str) -> int:
    from instructgpt.storage.label_forgetting import forget_user
    from instructgpt.storage.label_store import LabelStore

    with LabelStore(address) as store:
        return forget_user(store, user, "command line")


def _forget_in_calls(file: Path, user: str) -> int:
    from instructgpt.storage.judge_calls import JudgeCalls

    with JudgeCalls(file) as calls:
        return calls.forget_user(user)
