"""Charts: deterministic bytes, real text, unique ids, page colours, no warnings."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

from instructgpt.evaluation.plots import (
    Estimate,
    Series,
    bar_chart,
    interval_chart,
    line_chart,
    thin,
)


def chart(chart_id: str = "one"):
    rows = {
        "最佳 <n>": {"sampled": Estimate(0.6, 0.5, 0.7), "greedy": None},
        "PPO & Co": {"sampled": Estimate(0.7, 0.6, 0.8), "greedy": Estimate(1.0)},
    }
    return interval_chart(chart_id, rows, title="胜率", xlabel="share", limits=(0, 1))


def texts(svg: str) -> list[str]:
    return ["".join(e.itertext()) for e in ET.fromstring(svg).iter() if e.tag.endswith("text")]


def test_bytes_depend_on_the_data_alone():
    assert chart().svg == chart().svg
    other = line_chart("x", [Series("a", [0, 1], [1, 2])], title="t", xlabel="x", ylabel="y")
    assert other.svg != chart().svg


def test_labels_stay_text_and_are_escaped():
    svg = chart().svg
    assert {"最佳 <n>", "PPO & Co", "sampled", "greedy", "share"} <= set(texts(svg))
    assert "&lt;n&gt;" in svg
    root = ET.fromstring(svg)
    assert (root.attrib["role"], root.attrib["aria-label"]) == ("img", "胜率")


def test_colours_follow_the_page_and_nothing_leaks_into_it():
    svg = chart().svg
    assert not re.search(r"#[0-9a-fA-F]{6}\b", svg), "a colour that a dark page cannot change"
    assert "var(--series-1)" in svg
    assert "var(--ink)" in svg
    assert "<style" not in svg
    assert "<metadata" not in svg
    root = ET.fromstring(svg)
    assert "viewBox" in root.attrib
    assert "width" not in root.attrib, "the page decides the size"


def test_ids_differ_between_charts_and_references_resolve():
    first, second = chart("one").svg, chart("two").svg
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    used = set(re.findall(r'href="#([^"]+)"', first)) | set(re.findall(r"url\(#([^)]+)\)", first))
    assert used
    assert used <= ids[0]


def test_a_missing_estimate_draws_no_dot():
    """Three dots: two of `sampled`, one of `greedy`; two intervals and no more."""
    root = ET.fromstring(chart().svg)
    uses = [e.attrib for e in root.iter() if e.tag.endswith("use")]
    dots = [u for u in uses if "var(--series" in u.get("style", "") and float(u["y"]) < 110]
    assert len(dots) == 3


def test_a_model_keeps_its_colour():
    palette = ("SFT", "DPO", "PPO")
    for names in (["PPO"], ["SFT", "PPO"]):
        series = [Series(name, [0, 1], [0, 1]) for name in names]
        svg = line_chart("p", series, title="t", xlabel="x", ylabel="y", palette=palette).svg
        assert "var(--series-3)" in svg
        assert "var(--series-2)" not in svg


def test_stacked_bars_add_up():
    svg = bar_chart("b", [("stage", [10.0, 30.0])], ["a", "b"], title="t", xlabel="s").svg
    paths = re.findall(r'<path d="M ([\d.]+) [\d.]+ \nL ([\d.]+) [^"]*"[^>]*var\(--series', svg)
    widths = [float(right) - float(left) for left, right in paths][:2]
    assert math.isclose(widths[1] / widths[0], 3, rel_tol=1e-3)


def test_thinning_keeps_means_and_ends():
    x, y = thin(list(range(1000)), [float(i % 2) for i in range(1000)], limit=100)
    assert len(x) == 100
    assert x[-1] == 999
    assert set(y) == {0.5}
    assert thin([1, 2], [math.nan, 3.0]) == ([2], [3.0])
    assert thin([], []) == ([], [])
