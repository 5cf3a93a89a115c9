"""Where a store is: an SQLite file's path, or `postgresql://user:password@host:port/name`.

Of the libraries that reach a database only those are imported that an address asks for.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from instructgpt.errors import ConfigError

if TYPE_CHECKING:
    from instructgpt.storage.database import Database

_SCHEMES = ("postgresql", "postgres")
_NEARLY = re.compile(r"postgres(ql)?(\+\w*)?", re.IGNORECASE)

LABEL_TABLES = {"labelers", "tasks", "annotations"}
"""What only a label store has together, from its first version on."""


def names_postgres(text: str) -> bool:
    """Whether a text begins as the address of a PostgreSQL database does, or nearly so."""
    scheme, found, _ = text.partition(":/")
    return bool(found) and _NEARLY.fullmatch(scheme) is not None


def is_url(address: str | Path) -> bool:
    """Whether it is the address of a PostgreSQL database, rather than a file's path.

    Errors: ConfigError for the address of anything else, or one that is mistyped.
    """
    if isinstance(address, Path):
        if names_postgres(str(address)):
            raise ConfigError("a database's address was taken for a file's path; pass it as text")
        return False
    scheme, colon, rest = address.partition(":")
    if scheme in _SCHEMES and rest.startswith("//"):
        return True
    if rest.startswith("//") or (colon and _NEARLY.fullmatch(scheme)):
        # no more of it is shown: it may hold a password
        raise ConfigError(f"'{scheme}:...': a store is an SQLite file or a postgresql:// address")
    return False


def open_database(address: str | Path) -> Database:
    """A database that opens when it is first used. Errors: ConfigError for a wrong address."""
    if is_url(address):
        from instructgpt.storage.postgres import PostgresDatabase

        return PostgresDatabase(str(address))
    from instructgpt.storage.sqlite import SqliteFile

    return SqliteFile(Path(address))


def table_names(address: str | Path) -> set[str]:
    """The tables that are there; nothing is changed, and no file is made.

    Errors: as of the kind of database.
    """
    if is_url(address):
        from instructgpt.storage import postgres

        return postgres.table_names(str(address))
    from instructgpt.storage import sqlite

    return sqlite.table_names(Path(address))


def shown(address: str | Path) -> str:
    """As messages show it: without a password."""
    return open_database(address).where


def without_password(address: str | Path) -> str:
    """The same address as others may read it and use it with a password of their own."""
    if is_url(address):
        from instructgpt.storage import postgres

        return postgres.without_password(str(address))
    return str(address)


def is_label_store(address: str | Path) -> bool:
    """Whether a database holds labels."""
    return table_names(address) >= LABEL_TABLES


def require_label_store(address: str | Path) -> None:
    """A mistyped name must not become a new, empty store. Errors: ConfigError."""
    if not (is_url(address) or os.path.exists(address)) or not is_label_store(address):
        raise ConfigError(f"no label store at '{shown(address)}'; `label import` makes one")
