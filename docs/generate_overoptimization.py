#!/usr/bin/env python3
"""Run recipes/overoptimization.yaml; write docs/overoptimization.md, its Chinese page, its plots.

    python docs/generate_overoptimization.py [--out runs/quickstart]

A directory that holds a finished quickstart lends its world, models and labels.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import jinja2

import instructgpt.evaluation
from instructgpt.evaluation.plots import Chart
from instructgpt.evaluation.report_charts import overoptimization_charts
from instructgpt.pipeline.run import run_recipe
from instructgpt.progress import show_progress

DOCS = Path(__file__).resolve().parent
RECIPE = DOCS.parent / "recipes" / "overoptimization.yaml"
CSS = Path(instructgpt.evaluation.__file__).parent / "templates" / "report.css"
HAN = re.compile("[\u4e00-\u9fff]")


def write_pages(run: Path) -> None:
    """Both pages and the plots, from a finished run of the recipe."""
    evaluation = json.loads((run / "curve" / "evaluation.json").read_text(encoding="utf-8"))
    curves = evaluation["curves"]
    for name, chart in zip(curves, overoptimization_charts(curves), strict=True):
        image = DOCS / "images" / f"overoptimization-{name}.svg"
        image.write_text(standalone(chart), encoding="utf-8")
    facts = {
        "count": evaluation["prompts"]["count"],
        "curves": curves,
        "win": evaluation["models"]["hacking"]["win_rate"]["sampled"],
        "examples": examples(run / "curve" / "completions.jsonl"),
    }
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(DOCS / "templates"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown; nothing here is HTML
    )
    for language, folder in (("en", DOCS), ("zh", DOCS / "zh")):
        page = templates.get_template(f"overoptimization.{language}.md.j2").render(facts)
        (folder / "overoptimization.md").write_text(page, encoding="utf-8")


def examples(path: Path, per_language: int = 3) -> list[list[str]]:
    """[prompt, SFT's answer, the last policy's answer] of the first prompts in each language."""
    answers: dict[int, dict[str, str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row: dict[str, Any] = json.loads(line)
        if row["condition"] == "sampled" and len(row["prompt"]) == 1:
            found = answers.setdefault(row["prompt_index"], {"": row["prompt"][0]["content"]})
            found[row["model"]] = row["completion"]
    rows = [[_cell(a[name]) for name in ("", "sft", "hacking")] for a in answers.values()]
    chinese = [row for row in rows if HAN.search(row[0])]
    english = [row for row in rows if not HAN.search(row[0])]
    return english[:per_language] + chinese[:per_language]


def standalone(chart: Chart) -> str:
    """The report's inline chart as a file of its own: its colours defined, on white."""
    light = re.search(r":root \{(.*?)\}", CSS.read_text(encoding="utf-8"), re.DOTALL)
    assert light is not None, f"{CSS} defines no colours"
    style = f"svg {{ {' '.join(light[1].split())} background: #fff; font-family: sans-serif; }}"
    return chart.svg.replace(">", f"><style>{style}</style>", 1) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    """Run what is not done yet, then write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs", "quickstart"))
    arguments = parser.parse_args()
    show_progress()
    run_recipe(RECIPE, arguments.out, [])
    write_pages(arguments.out)


if __name__ == "__main__":
    main()
