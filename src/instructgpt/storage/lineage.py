"""What a finished run was made from, and how it scored: read from the run directories around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from instructgpt.storage.fingerprint import fingerprint_path
from instructgpt.storage.manifest import DONE, MANIFEST, read_json, read_manifest

Row = dict[str, Any]


def find_lineage(root: Path) -> list[Row]:
    """`{name, stage, fingerprint, made_from}` of everything behind the run in `root`, oldest first.

    The run itself is the last row. A file from outside has stage None. A parent that has changed
    since, or is gone, keeps the fingerprint that this run recorded; its own parents are unknown.
    Errors: RunDirError when `root` is not a run directory.
    """
    found: dict[str, Row] = {}
    _collect(root, found)
    return list(found.values())


def find_scores(root: Path) -> Row:
    """The numbers that a report beside the run in `root` has for it; empty without one.

    A report that was made from another state of this run does not count.
    """
    manifest = read_manifest(root)
    scores: Row = {}
    for other, theirs in _siblings(root):
        if theirs["stage"] != "report" or not (other / "report.json").exists():
            continue
        if theirs["parents"].get(root.name) != manifest["fingerprint"]:
            continue
        report = read_json(other / "report.json")
        if manifest["stage"] == "reward_model":
            scores |= _flat(report["reward_model"])
        for name in _evaluated_as(root):
            scores |= _flat(report["models"].get(name) or {})
    return scores


def _collect(root: Path, found: dict[str, Row]) -> str:
    """Add the run in `root` after its parents; its name in the lineage."""
    manifest = read_manifest(root)
    if manifest["fingerprint"] in found:
        return root.name
    parents = [
        _collect_parent(root, name, recorded, found)
        for name, recorded in manifest["parents"].items()
    ]
    found[manifest["fingerprint"]] = {
        "name": root.name,
        "stage": manifest["stage"],
        "fingerprint": manifest["fingerprint"],
        "made_from": parents,
    }
    return root.name


def _collect_parent(root: Path, name: str, recorded: str, found: dict[str, Row]) -> str:
    run = _made_by(root, name, recorded)
    if run is not None:
        return _collect(run, found)
    found.setdefault(
        recorded, {"name": name, "stage": None, "fingerprint": recorded, "made_from": []}
    )
    return name


def _made_by(root: Path, name: str, recorded: str) -> Path | None:
    """The run directory that is, or holds, the input `name`, if it is still what was read."""
    for candidate in (root.parent / name, Path(name)):
        if (candidate / MANIFEST).exists():
            return candidate if read_manifest(candidate)["fingerprint"] == recorded else None
    path = Path(name)
    for above in path.parents:
        if (above / DONE).exists() and (above / MANIFEST).exists():
            return above if path.exists() and fingerprint_path(path) == recorded else None
    return None


def _evaluated_as(root: Path) -> Iterator[str]:
    """Names under which `evaluate` stages beside the run looked at its model."""
    wanted = {f"@{root.name}/model", f"@{root.name}", str(root / "model"), str(root)}
    for _, theirs in _siblings(root):
        if theirs["stage"] == "evaluate":
            for name, entry in theirs["config"]["models"].items():
                if isinstance(entry, str) and entry in wanted:  # best-of-n is not its model
                    yield name


def _siblings(root: Path) -> Iterator[tuple[Path, Row]]:
    for path in sorted(root.resolve().parent.glob(f"*/{MANIFEST}")):
        if (path.parent / DONE).exists():
            yield path.parent, read_manifest(path.parent)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Row:
    """`{win_rate: {greedy: {value, low, high}}}` as `{"win_rate greedy": "0.61 [0.52, 0.70]"}`.

    What was not measured is left out.
    """
    flat: Row = {}
    for key, value in values.items():
        name = f"{prefix} {key}".strip()
        if isinstance(value, Mapping) and {"value", "low", "high"} <= value.keys():
            if value["value"] is not None:
                flat[name] = "{value:.3f} [{low:.3f}, {high:.3f}]".format(**value)
        elif isinstance(value, Mapping):
            flat |= _flat(value, name)
        elif isinstance(value, int | float):
            flat[name] = f"{value:.4g}"
    return flat
