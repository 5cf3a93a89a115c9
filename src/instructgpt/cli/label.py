"""`instructgpt label`: the stage itself, and the page where people label."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from instructgpt.cli.stage_group import stage_group

_STAGE = "run"
_Kind = Literal["rank", "demonstrate", "screening"]
_Store = Annotated[
    str, typer.Option("--store", help="SQLite file, or postgresql://user@host/database.")
]


def add_to(
    app: typer.Typer, purpose: str, panel: str, register: Callable[[typer.Typer, str], None]
) -> None:
    """Register `label` and its verbs; `register` adds the stage under the name that it is given."""
    group = typer.Typer(cls=stage_group(_STAGE))
    register(group, _STAGE)
    verbs = {
        "import": bring,
        "invite": invite,
        "serve": serve,
        "export": export,
        "backup": backup,
    }
    for name, verb in verbs.items():
        group.command(name)(verb)
    also = f"Also: {', '.join(f'label {name}' for name in verbs)}."
    app.add_typer(group, name="label", help=f"{purpose} {also}", rich_help_panel=panel)


def bring(
    file: Annotated[Path, typer.Argument(help="JSONL of tasks.")],
    store: _Store,
    kind: Annotated[
        _Kind,
        typer.Option(help="Prompts with completions to rank, prompts to answer, or the test."),
    ] = "rank",
    overlap: Annotated[
        float, typer.Option(min=0, max=1, help="Share of tasks that two labelers should do.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="Draws which tasks those are.")] = 0,
) -> None:
    """Add tasks to a store: to rank, to demonstrate, or the screening test."""
    from instructgpt.cli.console import say
    from instructgpt.data.jsonl import unreadable
    from instructgpt.labeling import exchange
    from instructgpt.storage.label_store import LabelStore

    with unreadable(file):
        file.stat()  # before a store is made
    with LabelStore(store) as opened:
        if kind == "rank":
            count = exchange.import_rankings(opened, file, overlap=overlap, seed=seed)
        elif kind == "demonstrate":
            count = exchange.import_demonstrations(opened, file, overlap=overlap, seed=seed)
        else:
            count = exchange.import_screening(opened, file)
        say(f"read {count} rows; {opened.where} has {opened.counts()['tasks']} tasks")


def invite(
    name: Annotated[str, typer.Argument(help="Who; exports carry this name.")],
    store: _Store,
    lead: Annotated[bool, typer.Option("--lead", help="May assign, review and export.")] = False,
    url: Annotated[
        str, typer.Option(help="Where people reach the page.")
    ] = "http://127.0.0.1:8001",
) -> None:
    """Print a personal link; an earlier one of the same person stops working."""
    from instructgpt.cli.console import say
    from instructgpt.storage.address import require_label_store
    from instructgpt.storage.label_access import LabelAccess
    from instructgpt.storage.label_store import LabelStore

    require_label_store(store)
    with LabelStore(store) as opened:
        token = LabelAccess(opened).invite(name, "lead" if lead else "labeler")
    say(f"{url.rstrip('/')}/join#{token}")


def serve(
    store: _Store,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8001,
    ratings: Annotated[
        bool, typer.Option(help="Also ask for labels of the instruction, ratings and flags.")
    ] = True,
) -> None:
    """Serve the page where people demonstrate, rate and rank."""
    from instructgpt.labeling.server import serve as run
    from instructgpt.storage.address import require_label_store

    require_label_store(store)
    run(store, address=host, port=port, ratings=ratings)


def export(
    store: _Store,
    out: Annotated[Path, typer.Option("--out", help="Folder for the files.")],
    heldout: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the ranked prompts kept from training.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="Draws which prompts those are.")] = 0,
) -> None:
    """Write rankings, those held out, demonstrations and the history, ready for training."""
    from instructgpt.cli.console import say
    from instructgpt.data.jsonl import write_jsonl
    from instructgpt.labeling import exchange
    from instructgpt.storage.address import require_label_store
    from instructgpt.storage.label_review import LabelReview
    from instructgpt.storage.label_store import LabelStore

    require_label_store(store)
    with LabelStore(store) as opened:
        rankings = exchange.exported_rankings(opened)
        train, held = exchange.split_by_prompt(rankings, heldout, seed)
        files = {
            "rankings.jsonl": iter(train),
            "rankings_heldout.jsonl": iter(held),
            "demonstrations.jsonl": exchange.exported_demonstrations(opened),
            "history.jsonl": iter(LabelReview(opened).history()),
        }
        for name, rows in files.items():
            say(f"{write_jsonl(out / name, rows):>7}  {out / name}")


def backup(
    store: _Store,
    out: Annotated[Path, typer.Option("--out", help="The copy, a new file.")],
) -> None:
    """Copy the store, also while people label, as one sound file."""
    from instructgpt.cli.console import say
    from instructgpt.storage.address import is_url, require_label_store
    from instructgpt.storage.backup import back_up
    from instructgpt.storage.label_store import LabelStore

    require_label_store(store)
    back_up(store, out)
    if is_url(store):
        say(f"{out}: pg_restore puts it into an empty database")
        return
    with LabelStore(out) as copy:
        counts = copy.counts()
    say(f"{counts['tasks']} tasks, {counts['annotations']} annotations: {out}")
