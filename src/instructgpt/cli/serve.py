"""`instructgpt serve`: checkpoints behind an OpenAI-compatible API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Register the verb of this file."""
    app.command("serve", rich_help_panel="Talk")(serve)


def serve(
    checkpoints: Annotated[
        list[str],
        typer.Argument(
            help="Checkpoint directories or hub names, or NAME=CHECKPOINT; or a loop's folder."
        ),
    ],
    reward_model: Annotated[
        str | None, typer.Option(help="A reward model for /v1/rewards, or NAME=CHECKPOINT.")
    ] = None,
    feedback: Annotated[
        Path | None, typer.Option(help="Folder for votes and thumbs of the chat page.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    api_key: Annotated[list[str] | None, typer.Option(help="Allow this key; repeatable.")] = None,
    api_key_file: Annotated[Path | None, typer.Option(help="Allow its keys, one a line.")] = None,
    slots: Annotated[int, typer.Option(min=1, help="Answers written together, per model.")] = 32,
    queue: Annotated[int, typer.Option(min=0, help="Answers that may wait beside them.")] = 256,
    requests_per_minute: Annotated[
        int, typer.Option(min=0, help="Per key, or per address without keys; 0 is no limit.")
    ] = 0,
    max_body_bytes: Annotated[int, typer.Option(min=1, help="Largest request.")] = 1 << 20,
    grace_seconds: Annotated[
        int, typer.Option(min=0, help="How long running answers may take at the end.")
    ] = 60,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
) -> None:
    """Serve models to any OpenAI client."""
    from instructgpt.web.listening import require_extra

    require_extra()
    from instructgpt.serving import server
    from instructgpt.serving.limits import Limits

    server.serve(
        checkpoints,
        limits=Limits(slots, queue, max_body_bytes, requests_per_minute),
        reward_model=reward_model,
        feedback=feedback,
        address=host,
        port=port,
        keys=server.read_keys(api_key or [], api_key_file),
        grace_seconds=grace_seconds,
        device=device,
        dtype=dtype,
    )
