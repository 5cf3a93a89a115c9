"""`instructgpt chat` and `instructgpt generate`: talk to a checkpoint, streaming."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

Model = Annotated[str, typer.Argument(help="Checkpoint directory or hub name.")]
System = Annotated[str | None, typer.Option(help="System message before the conversation.")]
MaxTokens = Annotated[int, typer.Option(min=1, help="Longest answer.")]
Temperature = Annotated[float, typer.Option(min=0.0, help="0 is greedy.")]
TopP = Annotated[float, typer.Option(min=0.0, max=1.0, help="Nucleus sampling.")]
Seed = Annotated[int, typer.Option(help="Seed of sampling.")]
Task = Annotated[str | None, typer.Option(help="Which of the model's soft prompts.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]


def add_to(app: typer.Typer) -> None:
    """Register the verbs of this file."""
    app.command("chat", rich_help_panel="Talk")(chat)
    app.command("generate", rich_help_panel="Talk")(generate)


def chat(
    model: Model,
    system: System = None,
    max_new_tokens: MaxTokens = 256,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    seed: Seed = 0,
    device: Device = "auto",
    task: Task = None,
) -> None:
    """Talk to a model in the terminal."""
    from instructgpt.serving import terminal

    terminal.chat(
        model,
        system=system,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        device=device,
        task=task,
    )


def generate(
    model: Model,
    prompt: Annotated[
        str | None, typer.Argument(help="What to answer; default: standard input.")
    ] = None,
    system: System = None,
    max_new_tokens: MaxTokens = 256,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    seed: Seed = 0,
    device: Device = "auto",
    task: Task = None,
) -> None:
    """Answer one prompt."""
    from instructgpt.serving import terminal

    terminal.generate(
        model,
        sys.stdin.read() if prompt is None else prompt,
        system=system,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        device=device,
        task=task,
    )
