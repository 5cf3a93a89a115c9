"""What a benchmark leaves behind: results/NAME.json, from which the pages are made.

    {"name": "ppo", "rows": [{"workload": "4.3M, full length", "metric": "episodes_per_s",
      "peer_name": "trl 1.12.0", "ours": 11.0, "peer": 3.1, "ratio": 3.6, "low": 3.4, "high": 3.7,
      "pairs": 3, "aim": 3.0, "date": ..., "revision": ..., "machine": {...}, "runs": {...}}]}

Every row says when, where and from which revision it comes, because rows are measured again one at
a time. A row without a peer has "peer": null and no ratio.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from instructgpt.storage.environment import describe_environment, describe_source

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"

# More is better of everything else.
LESS_IS_BETTER = ("seconds", "cpu_seconds", "peak_mib")

Run = dict[str, Any]


def compare(metric: str, ours: Sequence[Run], theirs: Sequence[Run]) -> dict[str, Any]:
    """Medians of both sides, and the median, least and most of the ratio within a pair.

    A ratio above 1 means that we are better, whichever way the metric points.
    """
    pairs = [(a[metric], b[metric]) for a, b in zip(ours, theirs, strict=True)]
    ratios = [b / a if metric in LESS_IS_BETTER else a / b for a, b in pairs]
    return {
        "metric": metric,
        "ours": statistics.median(a for a, _ in pairs),
        "peer": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "pairs": len(pairs),
    }


def save(name: str, rows: Iterable[dict[str, Any]], folder: Path = RESULTS) -> Path:
    """Put `rows` into NAME.json in `folder`, in place of those of the same workload and metric."""
    path = folder / f"{name}.json"
    before = json.loads(path.read_text())["rows"] if path.exists() else []
    stamp = {"date": time.strftime("%Y-%m-%d"), "revision": revision(), "machine": machine()}
    kept = {_key(row): row for row in before} | {_key(row): {**row, **stamp} for row in rows}
    folder.mkdir(exist_ok=True)
    path.write_text(json.dumps({"name": name, "rows": list(kept.values())}, indent=1) + "\n")
    return path


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["workload"], row["peer_name"] or "", row["metric"]


def machine() -> dict[str, Any]:
    """Where the numbers come from."""
    found = describe_environment()
    versions = {name: found["packages"][name] for name in ("torch", "transformers")}
    return {key: found[key] for key in ("cpu", "cores", "devices", "python")} | versions


def revision() -> str:
    """The commit of the source; a `+` says that files differ from it. "unknown" outside git."""
    source = describe_source()
    if source is None:
        return "unknown"
    return source["revision"][:7] + ("+" if source["dirty"] else "")
