"""`instructgpt label serve`: the label page on a store, until told to stop."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote

from instructgpt.storage.address import without_password
from instructgpt.storage.label_store import LabelStore
from instructgpt.web.listening import bind, is_loopback, require_extra, run, url_of


def serve(
    store: str | Path,
    *,
    address: str = "127.0.0.1",
    port: int = 8001,
    ratings: bool = True,
    grace_seconds: int = 10,
) -> None:
    """Serve the page until SIGINT or SIGTERM. Errors: ConfigError for an address that is taken."""
    require_extra()
    from instructgpt.labeling.page.app import create_app

    with LabelStore(store) as opened, bind(address, port) as listening:
        url = url_of(address, listening)
        sys.stdout.write(f"label page at {url}; invite people with\n")
        plain = without_password(store)
        sys.stdout.write(f"  instructgpt label invite NAME --store {quote(plain)} --url {url}\n")
        if plain != str(store):
            sys.stdout.write("(its password is left out: put it into ~/.pgpass or PGPASSWORD)\n")
        if not is_loopback(address):
            sys.stdout.write("warning: put a proxy with TLS in front of an open address\n")
        sys.stdout.flush()
        run(create_app(opened, ratings=ratings), listening, grace_seconds)
