"""Write docs/configuration.md from the config classes: `python docs/generate_configuration.py`.

The classes are the source; the page is what they say. tests/docs fails when the page is old.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from instructgpt.config.base import Config
from instructgpt.config.describe import Row, describe
from instructgpt.config.loop import LoopConfig
from instructgpt.pipeline.stages import STAGES

PAGE = Path(__file__).with_name("configuration.md")

INTRODUCTION = """\
# Configuration

English | [中文说明](zh/configuration.md)

This page is written by `docs/generate_configuration.py` from the classes in `config/`; the same
rows appear under `instructgpt VERB --help`. Do not edit it by hand.

A stage's settings come from three places, and a later one wins: the defaults below, YAML files from
left to right, flags. No environment variable and no file that you did not name is read. An unknown
key is an error that names the nearest valid one.

```bash
instructgpt sft --config my.yaml --epochs 2 --optim.lr 1e-5
instructgpt sft --config my.yaml epochs=2 optim.lr=1e-5
instructgpt sft --model gpt2 --demonstrations my.jsonl --print-config
```

The first two lines say the same (each also needs `--out DIR`). In a recipe the same keys stand
below the stage's name, and flags after the recipe carry that name in front:

```bash
instructgpt run quickstart sft.epochs=1 ppo.kl.coef=0.05 seed=1
```

`seed=1` is the recipe's own seed; a stage that names none derives its seed from the recipe's seed
and its name. A path may be written `@NAME/FILE`: that file in the run directory of an earlier stage
of the same recipe. `none` as a value means not set. The resolved settings of every run are in its
`config.yaml`, which `--config` reads again.
"""


def page() -> str:
    """The whole page as Markdown."""
    sections = [section(s.stem, s.purpose, s.config_class()) for s in STAGES.values()]
    about = "Of a [loop](loop.md), beside the stages of `start` and `round`."
    return "\n".join([INTRODUCTION, *sections, section("loop", about, LoopConfig)])


def section(name: str, purpose: str, settings: type[Config]) -> str:
    """One kind of stage: its purpose and a table of its settings."""
    lines = [
        f"## `{name}`",
        "",
        purpose,
        "",
        "| setting | type | default | meaning |",
        "| --- | --- | --- | --- |",
        *table(describe(settings)),
        "",
    ]
    return "\n".join(lines)


def table(rows: list[Row]) -> Iterator[str]:
    """One line per setting; a section's own line says what the settings below it are about."""
    for row in rows:
        if row.type == "section":
            yield f"| **`{row.key}`** | | | {cell(row.doc)} |"
        else:
            default = row.default if row.default == "required" else f"`{cell(row.default)}`"
            yield f"| `{row.key}` | {cell(row.type)} | {default} | {cell(row.doc)} |"


def cell(text: str) -> str:
    """Text that cannot end its table cell."""
    return text.replace(" | ", " / ").replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
