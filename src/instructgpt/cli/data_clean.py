"""`instructgpt data clean FILE ...`: hygiene on its own, with a file of removals to review."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from instructgpt.errors import ConfigError, DataError

if TYPE_CHECKING:
    from instructgpt.data.hygiene.removals import Row
    from instructgpt.data.spool import Spool

# From the richest on: a ranking holds a prompt, a prompt no ranking.
_KINDS = ("rankings", "demonstrations", "prompts", "documents")


def add_to(group: typer.Typer) -> None:
    """Register the verb of this file."""
    settings = {"allow_extra_args": True, "ignore_unknown_options": True}
    group.command("clean", context_settings=settings)(clean)


def clean(
    words: Annotated[list[str], typer.Argument(metavar="FILE... [--SETTING VALUE]...")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the result; a new or empty one.")],
    kind: Annotated[
        str | None, typer.Option("--kind", help=f"{' | '.join(_KINDS)}. Default: told from FILE.")
    ] = None,
    format: Annotated[
        str | None, typer.Option("--format", help="Format of all files. Default: told from rows.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Draws which prompts a user keeps.")] = 0,
) -> None:
    """Remove repetitions, personal data, evaluation prompts and more than 200 prompts of one user.

    Writes the records that stay as OUT/FILE.jsonl and all removals, with reason and evidence, as
    OUT/removals.jsonl. The settings are those of `hygiene` in stage `data`, after the files:
    --personal_data mask, --similarity 0.9, --user_cap none, --evaluation EVAL.jsonl.
    """
    from instructgpt.cli.console import say, table
    from instructgpt.config.hygiene import HygieneConfig
    from instructgpt.config.load import load_config
    from instructgpt.data.hygiene.removals import REASONS
    from instructgpt.data.spool import Spool
    from instructgpt.disk import disk_errors
    from instructgpt.pipeline.hygiene import clean_rows, write_cleaned

    files, flags = _divide(words)
    config = load_config(HygieneConfig, flags=flags)
    with disk_errors(out):
        is_taken = out.exists() and (not out.is_dir() or any(out.iterdir()))
    if is_taken:
        raise DataError(f"{out}: there is something already; give a new or empty folder as --out")
    rows: Spool[Row] = Spool(folder=_folder_of(out))
    for file in files:
        _read(file, kind, format, rows)
    cleaned, counts = clean_rows(rows, config, seed, _folder_of(out))
    write_cleaned(cleaned, list(counts), out)
    columns = ["records", *(r for r in REASONS if any(r in row for row in counts.values())), "kept"]
    table(
        ["file", *columns],
        [[file, *(str(row.get(name, 0)) for name in columns)] for file, row in counts.items()],
    )
    say(f"removals  {out / 'removals.jsonl'}")


def _divide(words: list[str]) -> tuple[list[str], list[str]]:
    """The files, and the settings behind them."""
    settings = [i for i, word in enumerate(words) if word.startswith("--") or _assigns(word)]
    first = settings[0] if settings else len(words)
    if first == 0:
        raise ConfigError(f"write the files before the settings: data clean FILE {words[0]}")
    return words[:first], words[first:]


def _assigns(word: str) -> bool:
    return "=" in word and not Path(word).exists()


def _folder_of(out: Path) -> Path:
    """Where OUT is or will be: temporary files belong on the same disk as the result."""
    return next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())


def _read(file: str, kind: str | None, format: str | None, rows: Spool[Row]) -> None:
    """The rows of a file or folder as the kind that was asked for, or the richest it can be.

    Of all refusals that of the richest kind is told: it is what the file was meant to be.
    """
    from instructgpt.data.inspection import KINDS, richest_kind
    from instructgpt.data.jsonl import BrokenRow
    from instructgpt.data.readers import Reading
    from instructgpt.data.source import open_sources
    from instructgpt.pipeline.hygiene import read_rows

    if kind is not None and kind not in _KINDS:
        raise ConfigError(f"--kind: one of {', '.join(_KINDS)}, not '{kind}'")
    before = len(rows)
    refusals: list[DataError] = []
    richest = kind or richest_kind(next(open_sources(file)), format)
    for name in _KINDS[_KINDS.index(richest) :] if kind is None else (kind,):
        try:
            return read_rows(Reading(file, KINDS[name], format=format), rows)
        except BrokenRow:
            raise
        except DataError as refusal:
            rows.truncate(before)
            refusals.append(refusal)
    raise refusals[0]
