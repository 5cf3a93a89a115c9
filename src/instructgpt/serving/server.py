"""`instructgpt serve`: load, bind, answer until told to stop, finish what runs."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from instructgpt.errors import ConfigError
from instructgpt.web.listening import bind, is_loopback, require_extra, run, url_of

if TYPE_CHECKING:
    from instructgpt.serving.host import Host
    from instructgpt.serving.limits import Limits


def serve(
    checkpoints: Sequence[str],
    *,
    limits: Limits,
    reward_model: str | None = None,
    feedback: Path | None = None,
    address: str = "127.0.0.1",
    port: int = 8000,
    keys: Sequence[str] = (),
    grace_seconds: int = 60,
    device: str = "auto",
    dtype: str = "auto",
) -> None:
    """Serve `checkpoints` (each a path or hub name, or NAME=PATH) until SIGINT or SIGTERM.

    feedback: a folder for what people say on the chat page. keys: API keys; bound to another
    address than this machine's own, the server makes one up if there is none. grace_seconds: how
    long running answers may take to finish at the end.

    Errors: ConfigError for an address that cannot be bound or a missing extra, CheckpointError for
    what cannot be loaded.
    """
    require_extra()
    from instructgpt.serving.app import create_app

    listening = bind(address, port)
    keys = list(keys)
    if not keys and not is_loopback(address):
        keys = [secrets.token_urlsafe(24)]
        _say(f"warning: open to the network at {address}; made up an API key: {keys[0]}")
    with listening:
        host = load_host(
            checkpoints,
            reward_model=reward_model,
            feedback=feedback,
            keys=keys,
            limits=limits,
            device=device,
            dtype=dtype,
        )
        url = url_of(address, listening)
        _say(f"serving {', '.join(host.models)} at {url}/v1, with a page to chat at {url}/")
        run(create_app(host), listening, grace_seconds)


def load_host(
    checkpoints: Sequence[str],
    *,
    reward_model: str | None = None,
    feedback: Path | None = None,
    keys: Sequence[str] = (),
    limits: Limits,
    device: str = "auto",
    dtype: str = "auto",
) -> Host:
    """The models of a server, loaded. Errors: CheckpointError."""
    from instructgpt.serving.feedback import FeedbackLog
    from instructgpt.serving.host import Host
    from instructgpt.serving.rewards import RewardScorer
    from instructgpt.serving.served_model import ServedModel, named_sources

    models = [
        ServedModel.load(name, source, max_slots=limits.max_slots, device=device, dtype=dtype)
        for name, source in named_sources(checkpoints).items()
    ]
    reward = None
    if reward_model is not None:
        ((name, source),) = named_sources([reward_model]).items()
        reward = RewardScorer.load(name, source, device=device, dtype=dtype)
    log = None if feedback is None else FeedbackLog(feedback)
    return Host(models, reward=reward, feedback=log, keys=keys, limits=limits)


def read_keys(keys: Sequence[str], file: Path | None) -> list[str]:
    """The keys that were given, and those in a file of one key a line. Errors: ConfigError."""
    found = list(keys)
    if file is not None:
        try:
            found += file.read_text(encoding="utf-8").split()
        except OSError as error:
            raise ConfigError(f"cannot read the keys in '{file}': {error.strerror}") from error
        if not found:
            raise ConfigError(f"no API key in '{file}'; write one on each line")
    if any(not key.strip() for key in found):
        raise ConfigError("an API key is empty")
    return found


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
