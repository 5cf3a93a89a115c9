"""`manifest.json`: what a run is (its identity) and where it came about (its environment)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from instructgpt import __version__
from instructgpt.errors import RunDirError
from instructgpt.storage.atomic import atomic_write, is_leftover
from instructgpt.storage.environment import describe_environment, describe_source, utc_now
from instructgpt.storage.fingerprint import canonical_json, fingerprint_json
from instructgpt.storage.lock import LOCK_NAME

MANIFEST = "manifest.json"
DONE = "done.json"
_IDENTITY_KEYS = ("stage", "config", "seed", "parents", "version")
_SHORT = 40
_NAMED_DIFFERENCES = 3


def describe_identity(
    stage: str, config: Mapping[str, Any], seed: int, parents: Mapping[str, str]
) -> dict[str, Any]:
    """Everything that decides a stage's result, as JSON values.

    `parents` maps each input to its fingerprint. The package version belongs to it: another
    version may compute something else.
    """
    identity = {
        "stage": stage,
        "config": dict(config),
        "seed": seed,
        "parents": dict(parents),
        "version": __version__,
    }
    canonical_json(identity)  # refuses what JSON cannot hold
    normalised: dict[str, Any] = json.loads(json.dumps(identity))
    return normalised


def fingerprint_stage(
    stage: str, config: Mapping[str, Any], seed: int, parents: Mapping[str, str]
) -> str:
    """Hex SHA-256 of the identity; equal fingerprints mean that finished work can be reused."""
    return fingerprint_json(describe_identity(stage, config, seed, parents))


def new_manifest(identity: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a run that starts now."""
    return {
        **identity,
        "fingerprint": fingerprint_json(identity),
        "source": describe_source(),
        "environment": describe_environment(),
        "started": utc_now(),
        "resumed": [],
    }


def resumed_manifest(manifest: dict[str, Any]) -> dict[str, Any]:
    """`manifest` with one more resumption, and what is different about the machine this time."""
    first, now = manifest["environment"], describe_environment()
    changed = {key: value for key, value in now.items() if first.get(key) != value}
    entry = {"at": utc_now(), "environment": changed}
    return {**manifest, "resumed": [*manifest["resumed"], entry]}


def name_differences(manifest: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    """`lr: 0.1 -> 0.2, seed: 0 -> 1` for the first differing keys; empty when none differ."""
    old = dict(_flatten({key: manifest.get(key) for key in _IDENTITY_KEYS}))
    new = dict(_flatten({key: identity[key] for key in _IDENTITY_KEYS}))
    changed = {
        key.removeprefix("config."): f"{_short(old, key)} -> {_short(new, key)}"
        for key in [*new, *(key for key in old if key not in new)]
        if old.get(key) != new.get(key) or (key in old) != (key in new)
    }
    parts = [f"{key}: {change}" for key, change in changed.items()]
    more = len(parts) - _NAMED_DIFFERENCES
    return ", ".join(parts[:_NAMED_DIFFERENCES]) + (f" and {more} more" if more > 0 else "")


def start_or_resume(root: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """The manifest of the run in `root`, written if it is new or goes on; `root` is locked.

    Errors: RunDirError when the run has another identity, or `root` is no place for a run.
    """
    refuse_foreign(root)
    if not (root / MANIFEST).exists():
        manifest = new_manifest(identity)
        write_json(root / MANIFEST, manifest)
    else:
        manifest = read_manifest(root)
        _refuse_other_identity(root, manifest, identity)
        if not (root / DONE).exists():
            manifest = resumed_manifest(manifest)
            write_json(root / MANIFEST, manifest)
    if not (root / "config.yaml").exists():
        text = yaml.safe_dump(manifest["config"], allow_unicode=True, sort_keys=False)
        atomic_write(root / "config.yaml", text)
    return manifest


def refuse_foreign(root: Path) -> None:
    """A directory with other people's files in it is not ours to write in, let alone to empty.

    Errors: RunDirError for a file, and for a directory that is neither a run nor empty.
    """
    if not root.is_dir():
        raise RunDirError(f"'{root}' is a file; choose another path for the run")
    if (root / MANIFEST).exists():
        return
    names = [entry.name for entry in root.iterdir()]
    foreign = [name for name in names if name != LOCK_NAME and not is_leftover(name)]
    if foreign:
        raise RunDirError(
            f"'{root}' is not a run directory (no {MANIFEST}) and holds '{min(foreign)}'; choose "
            "another path for the run"
        )


def read_manifest(root: Path) -> dict[str, Any]:
    """The manifest of the run in `root`. Errors: RunDirError when there is no run."""
    path = root / MANIFEST
    if not path.is_file():
        raise RunDirError(f"'{root}' is not a run directory (no {MANIFEST})")
    return read_json(path)


def read_json(path: Path) -> dict[str, Any]:
    """One of a run's own JSON files. Errors: RunDirError when it is damaged."""
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunDirError(
            f"'{path}' is damaged ({error}); remove '{path.parent}' to start this stage again"
        ) from error
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write one of a run's own JSON files, atomically and in a form that people read."""
    atomic_write(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def _refuse_other_identity(root: Path, manifest: dict[str, Any], identity: dict[str, Any]) -> None:
    differences = name_differences(manifest, identity)
    if differences:
        state = "a finished" if (root / DONE).exists() else "an unfinished"
        raise RunDirError(
            f"'{root}' holds {state} run with other settings ({differences}); choose another "
            "directory, go back to those settings, or remove it to start again"
        )


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def _short(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return "(absent)"
    text = json.dumps(values[key], ensure_ascii=False)
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}..."
