"""No number is logged that the documentation does not explain."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from instructgpt.pipeline.run import run_recipe

RECIPE = Path(__file__).parents[1] / "e2e" / "tiny.yaml"
TRAINING = Path(__file__).parents[2] / "src" / "instructgpt" / "training"
STEMS = {
    "base": "pretrain",
    "sft": "sft",
    "reward_model": "reward_model",
    "dpo": "dpo",
    "ppo": "ppo",
    "ppo_ptx": "ppo",
}


@pytest.fixture(scope="module")
def logged(tmp_path_factory) -> dict[str, set[str]]:
    """Stage -> names in the metrics.jsonl of a real run."""
    root = tmp_path_factory.mktemp("runs") / "tiny"
    run_recipe(RECIPE, root, until="ppo_ptx")
    names: dict[str, set[str]] = {}
    for run, stem in STEMS.items():
        lines = (root / run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        names.setdefault(stem, set()).update(*rows)
    return {stem: found - {"step", "nonfinite"} for stem, found in names.items()}


def _documented(page) -> dict[str, set[str]]:
    """Stage -> names in the table of docs/metrics.md."""
    names: dict[str, set[str]] = {}
    for name, stages, _formula, unit in page.section("Names").tables:
        assert unit, f"{page.name}: {name} has no unit"
        for stage in stages.split(", "):
            names.setdefault(stage, set()).add(name.strip("`"))
    return names


def test_every_logged_metric_is_in_the_table(docs, logged):
    documented = _documented(docs.page("docs/metrics.md"))
    missing = {stage: names - documented[stage] for stage, names in logged.items()}
    assert missing == {stage: set() for stage in logged}


def test_every_metric_in_the_table_is_logged_or_named_in_the_trainers(docs, logged):
    """What the tiny run does not reach, such as SFT's reward score, is at least in the source."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in TRAINING.glob("*.py"))
    for stage, names in _documented(docs.page("docs/metrics.md")).items():
        for name in names - logged[stage]:
            assert f'"{name}"' in source, f"{stage}: {name}"


@pytest.mark.parametrize("stage", sorted(set(STEMS.values())))
def test_the_stage_page_explains_its_metrics(docs, logged, stage):
    table = docs.page(f"docs/stages/{stage}.md").section("Metrics").tables
    explained = {name for row in table for name in re.findall(r"`(\w+)`", row[0])}
    assert logged[stage] <= explained
