"""Listening at an address, and running an application there until told to stop."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

from instructgpt.errors import ConfigError

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def require_extra() -> None:
    """Errors: ConfigError when FastAPI or uvicorn is not installed."""
    missing = [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"serving needs {' and '.join(missing)}: pip install 'instructgpt[serve]'"
        )


def bind(address: str, port: int) -> socket.socket:
    """A socket that listens there. Errors: ConfigError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cannot listen at {address}:{port} ({error}); try --port") from error


def url_of(address: str, listening: socket.socket) -> str:
    """Where a browser finds it, without a slash at the end."""
    shown = f"[{address}]" if ":" in address else address
    return f"http://{shown}:{listening.getsockname()[1]}"


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach the address."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def run(app: ASGIApp, listening: socket.socket, grace_seconds: int) -> None:
    """Answer on a bound socket until SIGINT or SIGTERM, and finish what runs by then."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        timeout_graceful_shutdown=grace_seconds,
        lifespan="on",
        server_header=False,
    )
    with suppress(KeyboardInterrupt):  # uvicorn passes it on after it has finished what ran
        uvicorn.Server(config).run(sockets=[listening])
