"""The report's charts: inline SVG that follows the page's light or dark colours.

matplotlib draws with placeholder colours that become CSS variables afterwards, text stays text (so
Chinese needs no font here), ids are made unique per chart, and the bytes depend on the data alone.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

# Placeholder -> CSS variable. The series colours are Okabe and Ito's, safe for colour blindness;
# the page defines a light and a dark value of each.
INK, MUTED, GRID, PAPER = "#010101", "#020202", "#030303", "#040404"
SERIES = ("#050501", "#050502", "#050503", "#050504", "#050505", "#050506", "#050507")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    PAPER: "var(--card)",
    **{colour: f"var(--series-{i + 1})" for i, colour in enumerate(SERIES)},
}
WIDTH, HEIGHT = 5.0, 3.1  # inches: at 360 points across, 10-point text is readable on a phone


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval; `low` and `high` may be missing."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """One inline <svg>, with the caption that the page sets above it in its own type."""

    title: str
    svg: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """A line: points in order, and its name in the legend."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def interval_chart(
    chart_id: str,
    rows: Mapping[str, Mapping[str, Estimate | None]],
    *,
    title: str,
    xlabel: str,
    note: str = "",
    reference: float | None = None,
    limits: tuple[float, float] | None = None,
    palette: Sequence[str] = (),
) -> Chart:
    """Rows of dots with intervals, one dot per series: the paper's figure 1 lying on its side.

    `rows`: row label -> series name -> estimate (None: not measured, no dot). `palette`: names
    that have fixed colours, by their place, so that a model looks the same in every chart.
    """
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    height = len(rows) * max(0.36, 0.16 * len(names) + 0.12) + 0.9
    with _axes(chart_id, height) as (figure, axes):
        offsets = _spread(len(names), min(0.72, 0.2 * (len(names) - 1)))
        for j, name in enumerate(names):
            points = [
                (len(rows) - 1 - i - offsets[j], estimate)
                for i, row in enumerate(rows.values())
                if (estimate := row.get(name)) is not None
            ]
            _draw_intervals(axes, points, _slot(name, j, palette), name)
        if reference is not None:
            axes.axvline(reference, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        axes.set_yticks(range(len(rows)), list(rows)[::-1])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xlabel(xlabel)
        axes.grid(axis="x")
        if limits is not None:
            axes.set_xlim(*limits)
        if len(names) > 1:
            _legend(figure, axes)
        return Chart(title, _svg(figure, chart_id, title), note)


def line_chart(
    chart_id: str,
    series: Sequence[Series],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    note: str = "",
    markers: bool = False,
    mark: tuple[float, float, str] | None = None,
    palette: Sequence[str] = (),
) -> Chart:
    """Lines over a common x; `mark` rings one point (x, y, text); `palette` as above."""
    with _axes(chart_id, HEIGHT) as (figure, axes):
        for j, line in enumerate(series):
            slot = _slot(line.name, j, palette)
            axes.plot(
                line.x,
                line.y,
                color=SERIES[slot],
                linewidth=1.8,
                marker=MARKERS[slot] if markers or len(line.x) < 3 else None,
                markersize=5,
                label=line.name,
            )
        if mark is not None:
            _ring(axes, *mark)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.grid(axis="y")
        if len(series) > 1:
            _legend(figure, axes)
        return Chart(title, _svg(figure, chart_id, title), note)


def bar_chart(
    chart_id: str,
    bars: Sequence[tuple[str, Sequence[float]]],
    parts: Sequence[str],
    *,
    title: str,
    xlabel: str,
) -> Chart:
    """Horizontal stacked bars: `bars` are (label, one length per part)."""
    with _axes(chart_id, 0.34 * len(bars) + 1.1) as (figure, axes):
        left = [0.0] * len(bars)
        rows = [len(bars) - 1 - i for i in range(len(bars))]
        for j, part in enumerate(parts):
            lengths = [values[j] for _, values in bars]
            axes.barh(
                rows,
                lengths,
                left=left,
                height=0.66,
                color=SERIES[j % len(SERIES)],
                edgecolor=PAPER,
                linewidth=0.8,
                label=part,
            )
            left = [a + b for a, b in zip(left, lengths, strict=True)]
        axes.set_yticks(rows, [label for label, _ in bars])
        axes.set_xlabel(xlabel)
        axes.grid(axis="x")
        if len(parts) > 1:
            _legend(figure, axes)
        return Chart(title, _svg(figure, chart_id, title))


def thin(
    x: Sequence[float], y: Sequence[float], limit: int = 400
) -> tuple[list[float], list[float]]:
    """At most `limit` points: means of neighbours, so that a long run stays a small file."""
    pairs = [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(b)]
    size = math.ceil(len(pairs) / limit) or 1
    groups = [pairs[i : i + size] for i in range(0, len(pairs), size)]
    return [g[-1][0] for g in groups], [sum(b for _, b in g) / len(g) for g in groups]


@contextmanager
def _axes(chart_id: str, height: float) -> Iterator[tuple[Any, Any]]:
    """A figure with one pair of axes in our style; nothing global of matplotlib changes."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": chart_id,
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": MUTED,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "grid.color": GRID,
        "grid.linewidth": 0.8,
        "legend.frameon": False,
        "legend.labelcolor": INK,
    }
    # the viewer's browser has the Chinese glyphs that matplotlib's own font lacks
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, figure.add_subplot()


def _draw_intervals(
    axes: Any, points: Sequence[tuple[float, Estimate]], slot: int, name: str
) -> None:
    colour = SERIES[slot]
    for y, estimate in points:
        if estimate.low is not None and estimate.high is not None:
            axes.plot(
                [estimate.low, estimate.high],
                [y, y],
                color=colour,
                linewidth=2.4,
                alpha=0.55,
                solid_capstyle="round",
                clip_on=False,
                zorder=2,
            )
    axes.plot(
        [e.value for _, e in points],
        [y for y, _ in points],
        linestyle="none",
        marker=MARKERS[slot],
        markersize=6.5,
        color=colour,
        label=name,
        clip_on=False,
        zorder=3,
    )


def _ring(axes: Any, x: float, y: float, text: str) -> None:
    axes.plot([x], [y], "o", markersize=11, markerfacecolor="none", markeredgecolor=INK)
    axes.annotate(
        text,
        (x, y),
        xytext=(0, 10),
        textcoords="offset points",
        ha="center",
        color=INK,
        bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.85, "pad": 1},
    )
    axes.margins(x=0.12, y=0.18)


def _slot(name: str, place: int, palette: Sequence[str]) -> int:
    """Which colour and marker a series has."""
    return (palette.index(name) if name in palette else place) % len(SERIES)


def _legend(figure: Any, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(len(labels), 3), fontsize=9
    )


def _spread(count: int, reach: float) -> list[float]:
    """`count` offsets around 0, `reach` from first to last."""
    return [0.0] if count < 2 else [reach * (i / (count - 1) - 0.5) for i in range(count)]


def _svg(figure: Any, chart_id: str, title: str) -> str:
    """The figure as one <svg> element for inlining, with unique ids and CSS colours."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # a <style> inside inline SVG would apply to the whole page
    svg = re.sub(r"<(metadata|style)\b.*?</\1>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(?<=\bid=")|(?<=href="#)|(?<=url\(#)', f"{chart_id}-", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    for size in ("width", "height"):
        svg = re.sub(rf'(<svg[^>]*?) {size}="[^"]*pt"', r"\1", svg)
    label = escape(title, quote=True)
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1).strip()
