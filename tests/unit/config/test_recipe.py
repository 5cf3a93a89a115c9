"""Recipe files: what they say, and what is answered when they say something impossible."""

from __future__ import annotations

from pathlib import Path

import pytest

from instructgpt.config.recipe import check_references, derive_seed, load_recipe
from instructgpt.config.references import find_references, resolve_references
from instructgpt.errors import ConfigError

GOOD = """\
name: small
seed: 7
stages:
  world: {stage: microworld, people: 20}
  sft:
    model: "@world/model"
    epochs: 2
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_sections_keep_their_order_kind_and_settings(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    recipe = load_recipe(path)
    assert (recipe.name, recipe.seed, list(recipe.sections)) == ("small", 7, ["world", "sft"])
    assert recipe.sections["world"].stem == "microworld"
    assert recipe.sections["world"].settings.values == {"people": 20}
    assert recipe.sections["sft"].stem == "sft"
    assert recipe.sections["sft"].settings.origin("epochs") == f"{path}:7"
    assert recipe.sections["sft"].settings.origin("optim") == f"{path}:5"


def test_the_name_defaults_to_the_file_and_the_seed_to_zero(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, "stages:\n  report:\n"))
    assert (recipe.name, recipe.seed) == ("r", 0)
    assert recipe.sections["report"].settings.values == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stagess: {}\n", "{}:1: unknown key 'stagess'; did you mean 'stages'?"),
        ("name: x\n", "{}: a recipe needs `stages:`"),
        ("stages: {}\n", "{}: a recipe needs `stages:`"),
        ("name: ../up\nstages: {a: {}}\n", "{}:1: name: use a-z"),
        ("seed: -1\nstages: {a: {}}\n", "{}:1: seed: use a whole number"),
        ("seed: true\nstages: {a: {}}\n", "{}:1: seed: use a whole number"),
        ("stages:\n  A/b: {}\n", "{}:2: a stage's name uses"),
        ("stages:\n  stale: {}\n", "{}:2: a stage's name uses"),
        ("stages:\n  a: 3\n", "{}:2: stage 'a' needs"),
        ("stages:\n  a: {stage: 3}\n", "{}:2: stage: use the name of a kind"),
        ("stages:\n  a: {}\n  a: {}\n", "{}:3: key 'stages.a' is already set on line 2"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(message.format(path))


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("@wrld/x", "there is no stage 'wrld'; did you mean 'world'?"),
        ("@sft/model", "that is this stage itself"),
        ("@ppo/model", "stage 'ppo' comes later; move it before 'sft'"),
    ],
)
def test_a_reference_must_name_an_earlier_stage(
    tmp_path: Path, reference: str, reason: str
) -> None:
    path = write(tmp_path, f'stages:\n  world: {{}}\n  sft: {{models: ["{reference}"]}}\n  ppo:\n')
    section = load_recipe(path).sections["sft"]
    with pytest.raises(ConfigError) as caught:
        check_references(section, ["world"], ["world", "sft", "ppo"])
    assert str(caught.value) == f"{path}:3: models: '{reference}': {reason}"


def test_references_are_found_and_resolved_at_any_depth() -> None:
    values = {"a": "@world/x/y.jsonl", "b": {"c": ["@base", "e@mail.org", 3]}, "d": None}
    assert list(find_references(values)) == [("a", "world", "x/y.jsonl"), ("b.c", "base", "")]
    assert resolve_references(values, Path("runs/q")) == {
        "a": "runs/q/world/x/y.jsonl",
        "b": {"c": ["runs/q/base", "e@mail.org", 3]},
        "d": None,
    }


def test_seeds_of_stages_are_fixed_for_ever_and_differ() -> None:
    """The literals come from `printf 0/sft | sha256sum`: its first 8 hex digits modulo 2^31."""
    assert derive_seed(0, "sft") == 294072092
    assert derive_seed(41, "ppo_ptx") == 1704190850
    seeds = {derive_seed(seed, name) for seed in range(20) for name in ("sft", "ppo", "world")}
    assert len(seeds) == 60
