"""Taking a user's rows out of files, and finding the runs that had learned from them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from instructgpt.data.jsonl import read_lines
from instructgpt.errors import DataError
from instructgpt.storage.atomic import atomic_write
from instructgpt.storage.manifest import MANIFEST, read_manifest

ROWS = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
STORES = (".sqlite",)


def files_below(path: Path) -> list[Path]:
    """The file itself, or every file of rows and every label store in the folder.

    Errors: DataError for what is not there, or is neither.
    """
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.is_file() and p.name.endswith(ROWS + STORES))
    if not path.exists():
        raise DataError(f"{path}: no such file")
    if not path.name.endswith(ROWS + STORES):
        raise DataError(f"{path}: rows can be taken out of {', '.join(ROWS + STORES)} only")
    return [path]


def rows_of(path: Path, user: str) -> tuple[bytes, int]:
    """(what the file holds without the rows whose `user` it is, how many those are); every other
    line stays as it is. Errors: DataError "file:line" when a line is not JSON.
    """
    kept, gone = [], 0
    for number, line in enumerate(read_lines(path), 1):
        try:
            row = json.loads(line) if line.strip() else None
        except ValueError as error:
            raise DataError(f"{path}:{number}: not JSON; nothing was changed") from error
        if isinstance(row, dict) and row.get("user") == user:
            gone += 1
        else:
            kept.append(line)
    return b"".join(kept), gone


def forget_rows(path: Path, user: str) -> int:
    """Take the rows whose `user` it is out of a file, all or none; how many they were.

    Errors: as `rows_of`; RunDirError when the disk refuses.
    """
    content, gone = rows_of(path, user)
    if gone:
        atomic_write(path, gzip.compress(content) if path.suffix == ".gz" else content)
    return gone


def runs_made_from(runs: Path, changed: Mapping[Path, str]) -> list[Path]:
    """The runs below `runs` that hold one of the files, or were made from one, directly or not.

    changed: path -> the fingerprint that the file had before.
    """
    manifests = {path.parent: read_manifest(path.parent) for path in runs.rglob(MANIFEST)}
    tainted = set(changed.values())
    found: set[Path] = set()
    files = [path.resolve() for path in changed]
    while True:
        more = {
            root
            for root, manifest in manifests.items()
            if root not in found
            and (_holds(root, files) or tainted & set(manifest["parents"].values()))
        }
        if not more:
            return sorted(found)
        found |= more
        tainted |= {manifests[root]["fingerprint"] for root in more}


def _holds(root: Path, files: Iterable[Path]) -> bool:
    return any(root.resolve() in file.parents for file in files)
