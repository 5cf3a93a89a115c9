"""`instructgpt serve`: load, bind, answer until told to stop, finish what runs."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from instructgpt.errors import ConfigError
from instructgpt.loop.places import FEEDBACK
from instructgpt.loop.state import is_loop
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
    """Serve `checkpoints` (each a path or hub name, or NAME=PATH), or a loop, until SIGINT or
    SIGTERM.

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
        if host.loop is not None:
            name = host.loop.state.name
            _say(f"clients ask for '{name}', whichever is promoted; the loop's page is {url}/loop")
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
    from instructgpt.serving.loop_watch import LoopWatch
    from instructgpt.serving.rewards import RewardScorer
    from instructgpt.serving.served_model import ServedModel, named_sources

    def load(name: str, source: str) -> ServedModel:
        return ServedModel.load(
            name, source, max_slots=limits.max_slots, device=device, dtype=dtype
        )

    folder = _loop_folder(checkpoints, feedback)
    loop = None if folder is None else LoopWatch(folder, load)
    if loop is not None:
        models, feedback = loop.models(), loop.folder / FEEDBACK
    else:
        models = [load(name, source) for name, source in named_sources(checkpoints).items()]
    reward = None
    if reward_model is not None:
        ((name, source),) = named_sources([reward_model]).items()
        reward = RewardScorer.load(name, source, device=device, dtype=dtype)
    log = None if feedback is None else FeedbackLog(feedback)
    return Host(models, reward=reward, feedback=log, keys=keys, limits=limits, loop=loop)


def _loop_folder(checkpoints: Sequence[str], feedback: Path | None) -> Path | None:
    """The loop that is to be served, if it is one. Errors: ConfigError for a loop beside others."""
    loops = [path for path in map(Path, checkpoints) if is_loop(path)]
    if not loops:
        return None
    if len(checkpoints) > 1:
        raise ConfigError(
            f"'{loops[0]}' is a loop, which says itself what is served; give it alone"
        )
    if feedback is not None:
        raise ConfigError(f"a loop keeps what people say in '{loops[0] / FEEDBACK}'; leave "
                          "--feedback out")  # fmt: skip
    return loops[0]


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
