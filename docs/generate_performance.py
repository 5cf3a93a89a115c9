#!/usr/bin/env python3
"""Write docs/performance.md and its Chinese page from benchmarks/results/*.json.

    python docs/generate_performance.py

Every number on the pages comes from these files; what was not measured says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

DOCS = Path(__file__).resolve().parent
RESULTS = DOCS.parent / "benchmarks" / "results"
COMPARED = ("ppo", "rollouts", "sft", "reward_model", "dpo", "startup", "serving")
Row = Mapping[str, Any]

# What the tables say in English stands in the files; this is the Chinese for it.
CHINESE = {
    "real lengths": "真实长度",
    "full length": "满长度",
    "requests": "个请求",
    "clients": "个客户端",
    "pretraining": "预训练",
    "defaults": "默认设置",
    "best": "最好的设置",
    "episodes/s": "回合/秒",
    "tokens/s": "词元/秒",
    "pairs/s": "对/秒",
    "core-s": "核·秒",
    "useful": "有用的",
    "reached": "达到",
    "**missed**": "**未达到**",
    "whole": "合计",
    "sequence": "序列",
    "vocabulary": "词表",
    "batch": "批次",
    "model": "模型",
}
MFU_AIM, MFU_AIM_OF = 0.6, "124M"
UNITS = {
    "episodes_per_s": "episodes/s",
    "tokens_per_s": "tokens/s",
    "pairs_per_s": "pairs/s",
    "episodes_per_cpu_s": "episodes/core-s",
    "tokens_per_cpu_s": "tokens/core-s",
    "pairs_per_cpu_s": "pairs/core-s",
    "seconds": "s",
    "cpu_seconds": "core-s",
    "peak_mib": "MiB",
    "matrix_tflops": "TFLOP/s",
    "useful_tflops": "useful TFLOP/s",
    "copy_gb_per_s": "GB/s",
    "gb_per_s": "GB/s",
}
HEADS = {
    "en": {
        "compared": ("workload", "ours", "peer", "ratio [least, most]", "pairs", "aim"),
        "used": ("workload", "ours", "peer", "matrix rate, GFLOP/s", "aim"),
        "memory": ("run", "estimate, MiB", "peak, MiB"),
        "growth": ("axis", "parameters, M", "rate", "peak, MiB"),
        "quickstart": ("stage", "seconds", "core-seconds"),
        "gpu": ("workload", "ours", "beside", "ratio", "aim"),
        "sources": ("benchmark", "measured", "revision", "threads", "machine"),
    },
    "zh": {
        "compared": ("工作", "我们", "对方", "比值 [最小, 最大]", "对数", "目标"),
        "used": ("工作", "我们", "对方", "矩阵速率，GFLOP/s", "目标"),
        "memory": ("运行", "估计，MiB", "峰值，MiB"),
        "growth": ("维度", "参数，百万", "速率", "峰值，MiB"),
        "quickstart": ("阶段", "秒", "核·秒"),
        "gpu": ("工作", "我们", "与之相比", "比值", "目标"),
        "sources": ("基准", "测量日期", "修订", "线程", "机器"),
    },
}


def load(folder: Path) -> dict[str, list[Row]]:
    """Benchmark -> rows, of every results file."""
    files = sorted(folder.glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8"))["rows"] for path in files}


def write_page(results: Mapping[str, Sequence[Row]], language: str) -> str:
    """The page in "en" or "zh"."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(DOCS / "templates"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        autoescape=False,  # Markdown; nothing here is HTML
    )
    tables = {name: compared(results.get(name, ())) for name in COMPARED}
    tables |= {
        "used": used(results.get("sft", ())),
        "memory": memory(results.get("memory", ())),
        "growth": growth(results.get("growth", ())),
        "quickstart": quickstart(results.get("quickstart", ())),
        "gpu": gpu(results.get("gpu", ())),
        "sources": sources(results),
    }
    shown = {name: _table(name, rows, language) for name, rows in tables.items()}
    missed = _missed_shares(results.get("sft", ())) + [
        f"{name}: {row['workload']}, {UNITS[row['metric']]}: {row['ratio']:.2f} x, {row['aim']:g} x"
        for name in (*COMPARED, "gpu")
        for row in results.get(name, ())
        if row.get("aim") is not None and row["peer"] is not None and row["ratio"] < row["aim"]
    ]
    measured = any(tables[name] for name in COMPARED)
    facts = {"tables": shown, "missed": [_say(m, language) for m in missed], "measured": measured}
    return templates.get_template(f"performance.{language}.md.j2").render(facts)


def compared(rows: Iterable[Row]) -> list[list[str]]:
    """Ours beside the peer's, with the aim beside what was reached."""
    return [
        [
            row["workload"],
            _amount(row["ours"], row["metric"]),
            f"{_amount(row['peer'], row['metric'])} ({row['peer_name']})",
            f"{row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}]",
            str(row["pairs"]),
            _aim(row),
        ]
        for row in rows
    ]


def used(rows: Iterable[Row]) -> list[list[str]]:
    """Share of the machine's bfloat16 matrix rate that the arithmetic of training makes up."""
    found = []
    for row in rows:
        ours, peer = _share(row, "ours"), _share(row, "peer")
        rate = _middle(row["runs"]["ours"], "matrix_gflops")
        aim = "-"
        if MFU_AIM_OF in row["workload"]:
            aim = f"{MFU_AIM:.0%}, {'reached' if ours >= MFU_AIM else '**missed**'}"
        found.append([row["workload"], f"{ours:.0%}", f"{peer:.0%}", f"{rate:.0f}", aim])
    return found


def _share(row: Row, side: str) -> float:
    return _middle(row["runs"][side], "mfu_cpu" if "cpu" in row["metric"] else "mfu")


def _missed_shares(rows: Iterable[Row]) -> list[str]:
    return [
        f"sft: {row['workload']}, MFU: {_share(row, 'ours'):.0%}, {MFU_AIM:.0%}"
        for row in rows
        if MFU_AIM_OF in row["workload"] and _share(row, "ours") < MFU_AIM
    ]


def memory(rows: Iterable[Row]) -> list[list[str]]:
    """What a stage says it will need before it begins, and its peak."""
    return [[r["workload"], f"{r['estimate'] / 2**20:.0f}", f"{r['ours']:.0f}"] for r in rows]


def growth(rows: Iterable[Row]) -> list[list[str]]:
    """One row per point of an axis."""
    return [
        [
            row["workload"],
            f"{row['params_m']:.1f}",
            _amount(row["ours"], row["metric"]),
            f"{row['peak_mib']:.0f}",
        ]
        for row in rows
    ]


def quickstart(rows: Iterable[Row]) -> list[list[str]]:
    """Seconds per stage and in all."""
    return [[r["workload"], f"{r['ours']:.0f}", f"{r['core_seconds']:.0f}"] for r in rows]


def gpu(rows: Iterable[Row]) -> list[list[str]]:
    """Ours beside a peer or beside what the device can do; "-" where there is neither."""
    found = []
    for row in rows:
        cells = [row["workload"], _amount(row["ours"], row["metric"])]
        if row["peer"] is None:
            cells += ["-", "-", "-"]
        else:
            cells.append(f"{_amount(row['peer'], row['metric'])} ({row['peer_name']})")
            cells.append(f"{row['ratio']:.2f}")
            cells.append("-" if row["aim"] is None else _aim(row))
        found.append(cells)
    return found


def sources(results: Mapping[str, Sequence[Row]]) -> list[list[str]]:
    """When, from which commit and where each benchmark was measured."""
    found: dict[tuple[str, ...], None] = {}
    for name, rows in results.items():
        for row in rows:
            at = row["machine"]
            versions = f"torch {at['torch']}, transformers {at['transformers']}"
            place = f"{', '.join(at['devices']) or at['cpu']}, {at['cores']} cores, {versions}"
            threads = str(row.get("threads", "-"))
            found[(f"`{name}`", row["date"], f"`{row['revision']}`", threads, place)] = None
    return [list(key) for key in found]


def _aim(row: Row) -> str:
    return f"{row['aim']:g}, {'reached' if row['ratio'] >= row['aim'] else '**missed**'}"


def _middle(runs: Sequence[Row], key: str) -> float:
    values = sorted(run[key] for run in runs)
    return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2


def _amount(value: float, metric: str) -> str:
    shown = f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    return f"{shown} {UNITS[metric]}"


def _table(name: str, rows: Sequence[Sequence[str]], language: str) -> str:
    """Markdown; empty without rows."""
    if not rows:
        return ""
    head = HEADS[language]["compared" if name in COMPARED else name]
    cells = [head, ["---"] * len(head), *([_say(cell, language) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _say(text: str, language: str) -> str:
    if language == "zh":
        for english, chinese in CHINESE.items():
            # whole words: `reward_model` is a name
            text = re.sub(rf"(?<!\w){re.escape(english)}(?!\w)", chinese, text)
    return text


def main() -> None:
    """Write both pages."""
    results = load(RESULTS)
    for language, folder in (("en", DOCS), ("zh", DOCS / "zh")):
        page = write_page(results, language)
        (folder / "performance.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
