"""`manifest.json`: what a run is (its identity) and where it came about (its environment)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from instructgpt.storage.environment import (
    describe_environment,
    describe_source,
    package_version,
)
from instructgpt.storage.fingerprint import canonical_json, fingerprint_json

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
        "version": package_version("instructgpt"),
    }
    normalised: dict[str, Any] = json.loads(canonical_json(identity))
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


def utc_now() -> str:
    """The time as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


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
