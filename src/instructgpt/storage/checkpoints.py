"""A run's resumable states: `step-00000123/state.pt` with `checkpoint.json` beside it.

A checkpoint is published as a whole, older ones go only after that, and a checksum finds a file
that a full disk or a broken copy has damaged.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from instructgpt.errors import CheckpointError
from instructgpt.storage.atomic import publish_directory, write_durably
from instructgpt.storage.fingerprint import fingerprint_file

logger = logging.getLogger(__name__)

_STATE = "state.pt"
_FACTS = "checkpoint.json"
_FOLDER = re.compile(r"^step-(\d{8,})$")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A state that was read back, with the facts recorded beside it."""

    step: int
    state: dict[str, Any]
    facts: dict[str, Any]


class Checkpoints:
    """The checkpoints in `folder`, of which the newest `keep` stay."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, oldest first."""
        if not self.folder.is_dir():
            return []
        matches = (_FOLDER.match(entry.name) for entry in self.folder.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def path(self, step: int) -> Path:
        """Where the checkpoint of `step` lies."""
        return self.folder / f"step-{step:08d}"

    def save(self, step: int, state: dict[str, Any], facts: Mapping[str, Any]) -> None:
        """Write `state` durably, then drop checkpoints that are older than the newest `keep`.

        `state` may hold tensors, numbers, texts, None, lists, tuples and dicts: what torch loads
        without running code. Errors: TypeError for anything else; RunDirError when the disk is
        full or refuses, and the earlier checkpoints stay.
        """
        refuse_unloadable(state, "state")
        with publish_directory(self.path(step), marker=None) as folder:
            size, digest = _write_state(folder / _STATE, state)
            described = {**facts, "step": step, "bytes": size, "sha256": digest}
            write_durably(folder / _FACTS, json.dumps(described, indent=2).encode())
        for later in (other for other in self.steps() if other > step):
            # it belongs to a future that falling back to an older checkpoint gave up
            shutil.rmtree(self.path(later))
        self.prune()

    def prune(self) -> None:
        """Remove all but the newest `keep`; a kill may have come between saving and this."""
        for step in self.steps()[: -self.keep]:
            shutil.rmtree(self.path(step))

    def load(self, *, warn: bool = True) -> Checkpoint | None:
        """The newest checkpoint that is whole, with tensors on the CPU; None when there is none.

        A damaged one is passed over with a warning. Errors: CheckpointError when all are damaged.
        """
        reason = ""
        for step in reversed(self.steps()):
            try:
                return _read(self.path(step), step)
            except CheckpointError as error:
                reason = str(error)
                if warn:
                    logger.warning("%s; trying the one before it", reason)
        if reason:
            raise CheckpointError(
                f"{reason}, and no earlier one is left; remove '{self.folder}' to start this "
                "stage again"
            )
        return None


def refuse_unloadable(value: Any, where: str) -> None:
    """Find, when saving, what could not be loaded later. Errors: TypeError naming the place."""
    import torch

    if isinstance(value, torch.Tensor) or type(value) in (type(None), bool, int, float, str):
        return
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            refuse_unloadable(key, f"a key of {where}")
            refuse_unloadable(item, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            refuse_unloadable(item, f"{where}[{index}]")
    else:
        raise TypeError(f"{where} is a {type(value).__name__}; a checkpoint cannot hold it")


class _HashingFile:
    """A file that is hashed as it is written, and remembers the error that stopped it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.digest = hashlib.sha256()
        self.size = 0
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            self.file.write(data)
        except OSError as error:
            self.error = error
            raise
        self.digest.update(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        self.file.flush()


def _write_state(path: Path, state: dict[str, Any]) -> tuple[int, str]:
    """Size in bytes and SHA-256 of the file written."""
    import torch

    with open(path, "xb") as file:
        hashing = _HashingFile(file)
        try:
            torch.save(state, cast(BinaryIO, hashing))
        except RuntimeError:
            # torch reports a failed write as its own error and loses the reason
            if hashing.error is not None:
                raise hashing.error from None
            raise
    return hashing.size, hashing.digest.hexdigest()


def _read(folder: Path, step: int) -> Checkpoint:
    import torch

    state, facts = folder / _STATE, _read_facts(folder)
    if not state.is_file() or state.stat().st_size != facts["bytes"]:
        raise CheckpointError(f"checkpoint '{folder}' is damaged ({_STATE} is cut short)")
    if fingerprint_file(state) != facts["sha256"]:
        raise CheckpointError(f"checkpoint '{folder}' is damaged ({_STATE} has changed)")
    return Checkpoint(step, torch.load(state, map_location="cpu", weights_only=True), facts)


def _read_facts(folder: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint '{folder}' is damaged ({_FACTS} is unreadable)"
        ) from error
    return facts
