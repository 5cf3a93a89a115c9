"""The family tree of a recipe: which data made which labels made which policy, as a small SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from instructgpt.evaluation.report_names import stage_label
from instructgpt.evaluation.stage_runs import StageRun, stage_inputs

_BOX_WIDTH, _BOX_HEIGHT = 118, 42
_STEP_X, _STEP_Y = 158, 62
_MARGIN = 8


@dataclass(frozen=True, slots=True)
class Node:
    """A stage with its inputs: (input, short fingerprint, stage that made it or None)."""

    name: str
    kind: str
    fingerprint: str
    inputs: tuple[tuple[str, str, str | None], ...]
    finished: bool


def lineage(runs: Sequence[StageRun]) -> list[Node]:
    """Every stage and what it was made from, in the order in which they ran."""
    return [
        Node(
            run.name,
            stage_label(run.stem),
            run.fingerprint[:12],
            tuple((s, f[:12], made_by) for s, f, made_by in stage_inputs(run, runs)),
            run.done is not None,
        )
        for run in runs
    ]


def lineage_svg(nodes: Sequence[Node]) -> str:
    """Boxes in columns by distance from the data, with a curve from each parent to its child."""
    columns = _columns(nodes)
    rows: dict[int, int] = {}
    places: dict[str, tuple[int, int]] = {}
    for node in nodes:
        column = columns[node.name]
        places[node.name] = (
            _MARGIN + column * _STEP_X,
            _MARGIN + rows.setdefault(column, 0) * _STEP_Y,
        )
        rows[column] += 1
    width = 2 * _MARGIN + max(columns.values()) * _STEP_X + _BOX_WIDTH
    height = 2 * _MARGIN + (max(rows.values()) - 1) * _STEP_Y + _BOX_HEIGHT
    edges = [
        _edge(places[parent], places[name])
        for name, parents in _drawn_parents(nodes).items()
        for parent in parents
    ]
    boxes = [_box(node, *places[node.name]) for node in nodes]
    return (
        f'<svg role="img" aria-label="Lineage of the stages" class="lineage" '
        f'viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(edges)}{"".join(boxes)}</svg>'
    )


def _drawn_parents(nodes: Sequence[Node]) -> dict[str, list[str]]:
    """Parents of each stage, without those that another parent was already made from."""
    known = {node.name for node in nodes}
    parents = {
        node.name: dict.fromkeys(p for _, _, p in node.inputs if p in known and p != node.name)
        for node in nodes
    }
    ancestors: dict[str, set[str]] = {}
    for name, direct in parents.items():
        ancestors[name] = set(direct).union(*(ancestors.get(p, set()) for p in direct))
    return {
        name: [p for p in direct if not any(p in ancestors.get(q, set()) for q in direct)]
        for name, direct in parents.items()
    }


def _columns(nodes: Sequence[Node]) -> dict[str, int]:
    """Each stage after all that it was made from, and as close as possible to what it made."""
    parents = _drawn_parents(nodes)
    columns: dict[str, int] = {}
    for name, above in parents.items():
        columns[name] = 1 + max((columns[p] for p in above if p in columns), default=-1)
    for name in reversed(list(parents)):
        below = [columns[child] for child, above in parents.items() if name in above]
        if below and parents[name]:
            columns[name] = max(columns[name], min(below) - 1)
    return columns


def _edge(start: tuple[int, int], end: tuple[int, int]) -> str:
    x1, y1 = start[0] + _BOX_WIDTH, start[1] + _BOX_HEIGHT // 2
    x2, y2 = end[0], end[1] + _BOX_HEIGHT // 2
    bend = (x2 - x1) // 2
    return (
        f'<path d="M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}" fill="none" '
        f'stroke="var(--muted)" stroke-opacity="0.55" stroke-width="1.4"/>'
    )


def _box(node: Node, x: int, y: int) -> str:
    dash = "" if node.finished else ' stroke-dasharray="4 3"'
    return (
        f"<g><title>{escape(node.name)} ({escape(node.kind)}) {escape(node.fingerprint)}</title>"
        f'<rect x="{x}" y="{y}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="8" '
        f'fill="var(--card)" stroke="var(--series-1)"{dash}/>'
        f'<text x="{x + _BOX_WIDTH // 2}" y="{y + 18}" text-anchor="middle" font-size="13" '
        f'fill="var(--ink)">{escape(_short(node.name))}</text>'
        f'<text x="{x + _BOX_WIDTH // 2}" y="{y + 33}" text-anchor="middle" font-size="10" '
        f'fill="var(--muted)" class="mono">{escape(node.fingerprint[:8])}</text></g>'
    )


def _short(name: str, limit: int = 16) -> str:
    return name if len(name) <= limit else f"{name[: limit - 1]}\N{HORIZONTAL ELLIPSIS}"
