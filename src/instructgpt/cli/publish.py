"""`instructgpt export` and `instructgpt push`: a result for other people and other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from instructgpt.errors import ConfigError

_FORMATS = ("hf", "gguf")


def add_to(app: typer.Typer) -> None:
    """Register the verbs of this file."""
    app.command("export", rich_help_panel="Publish")(export)
    app.command("push", rich_help_panel="Publish")(push)


def export(
    source: Annotated[str, typer.Argument(help="Run directory, model directory or hub name.")],
    out: Annotated[Path, typer.Option(help="Directory to write, or FILE.gguf.")],
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    format: Annotated[str, typer.Option(help="hf (a plain directory) or gguf.")] = "hf",
    converter: Annotated[
        Path | None, typer.Option(help="llama.cpp's convert_hf_to_gguf.py, for gguf.")
    ] = None,
) -> None:
    """Write a model that plain transformers loads, with its lineage and scores; or a GGUF file."""
    if format not in _FORMATS:
        raise ConfigError(f"--format {format}: use hf or gguf")
    if format == "hf" and converter is not None:
        raise ConfigError("--converter belongs to --format gguf")
    from instructgpt.cli.console import say
    from instructgpt.models.gguf import publish_gguf
    from instructgpt.models.publish import publish

    if format == "gguf":
        done = publish_gguf(source, out, converter, dtype)
    else:
        done = publish(source, out, dtype)
    say(f"{done.kind} in {done.dtype}: {out}")
    say(
        f"  loads with plain transformers, rounding moves a log-prob by {done.rounding:.2g} at most"
    )
    say(f"  card: {done.lineage} ancestors and itself, {done.scores} scores")
    if done.reward_bias:
        say(f"  its pipeline leaves out the bias: add {done.reward_bias:.6f} (config.reward_bias)")


def push(
    directory: Annotated[Path, typer.Argument(help="What `instructgpt export` wrote.")],
    repository: Annotated[str, typer.Argument(help="owner/name on the Hugging Face hub.")],
    private: Annotated[
        bool, typer.Option("--private", help="Make the repository private.")
    ] = False,
) -> None:
    """Upload an export to the Hugging Face hub."""
    from instructgpt.cli.console import say
    from instructgpt.models import hub

    say(hub.push(directory, repository, private=private))
