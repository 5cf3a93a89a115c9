"""SHA-256 of files, directories and settings: what decides whether work must be done again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from instructgpt.errors import ConfigError, DataError


def fingerprint_path(path: str | Path) -> str:
    """Hex SHA-256 of a file's bytes, or of a directory's file names and contents.

    Links are followed and hidden names (`.DS_Store`, `.lock`) ignored, empty folders too; the
    order in which the file system lists things does not matter. Errors: DataError if missing.
    """
    path = Path(path)
    return _fingerprint_tree(path) if path.is_dir() else fingerprint_file(path)


def fingerprint_file(path: str | Path) -> str:
    """Hex SHA-256 of a file's bytes. Errors: DataError if it is missing or cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot read '{path}': {error.strerror}") from error


def fingerprint_json(value: Any) -> str:
    """Hex SHA-256 of `canonical_json(value)`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """One text per value: sorted keys, no spaces, tuples as lists.

    Errors: ConfigError for NaN, infinities and half characters, which JSON in UTF-8 cannot hold.
    """
    try:
        text = json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        text.encode()
    except ValueError as error:
        raise ConfigError(f"settings and records must be valid JSON in UTF-8: {error}") from error
    return text


def _fingerprint_tree(root: Path) -> str:
    digest = hashlib.sha256()
    for name, path in sorted(_files(root, "", ())):
        digest.update(canonical_json([name, fingerprint_file(path)]).encode())
    return digest.hexdigest()


def _files(folder: Path, prefix: str, ancestors: tuple[Path, ...]) -> Iterator[tuple[str, Path]]:
    """(path relative to the root with forward slashes, path) of every file that is not hidden."""
    real = folder.resolve()
    if real in ancestors:
        raise DataError(f"'{folder}' is a link to a folder that contains it")
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _files(entry, f"{prefix}{entry.name}/", (*ancestors, real))
        else:
            yield prefix + entry.name, entry
