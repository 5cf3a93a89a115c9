"""The command line as its user meets it: help, exit codes, one-line errors, closing words."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from instructgpt.cli.main import app
from instructgpt.cli.recipes import packaged_recipes
from instructgpt.errors import DataError
from instructgpt.pipeline.stages import STAGES

RECIPE = """\
name: two
stages:
  first: {stage: copy, text: a}
  second: {stage: copy, text: b, source: "@first/out.txt"}
"""


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: Any) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "two.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def test_help_is_quick_and_names_every_verb() -> None:
    """Measured 0.25-0.4 s on two shared cores; the bound only catches a heavy import."""
    started = time.monotonic()
    command = [sys.executable, "-m", "instructgpt", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert time.monotonic() - started < 5
    verbs = {stem.replace("_", "-") for stem in STAGES} - {"copy", "gather"}
    for verb in verbs | {"run", "quickstart", "chat", "generate", "doctor"}:
        assert f" {verb} " in done.stdout


@pytest.mark.parametrize(
    ("verb", "chosen", "found"),
    [
        ("sft", {}, "1000"),
        ("serve", {}, "10000"),
        ("serve", {"GOMP_SPINCOUNT": "7"}, "7"),
        ("sft", {"OMP_WAIT_POLICY": "ACTIVE"}, "None"),
    ],
)
def test_threads_spin_briefly_unless_somebody_has_chosen(
    verb: str, chosen: dict[str, str], found: str
) -> None:
    """It has to be said before torch is there."""
    program = (
        "import os, sys\n"
        "from instructgpt.cli import main\n"
        "main.app = lambda **_: print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)\n"
        "main.main()"
    )
    ours = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    command = [sys.executable, "-c", program, verb]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**ours, **chosen}
    )
    assert done.stdout.split() == [found, "False"]


@pytest.mark.parametrize("verb", [stem.replace("_", "-") for stem in STAGES])
def test_help_of_a_stage_lists_its_settings(verb: str) -> None:
    result = call(verb, "--help")
    assert result.exit_code == 0
    for key in STAGES[verb.replace("-", "_")].config_class().model_fields:
        assert f"--{key} " in result.stdout or f"{key}." in result.stdout


def test_the_users_mistake_is_one_line_and_exit_code_2() -> None:
    result = call("sft", "--out", "x", "--optim.lrr", "1")
    assert result.exit_code == 2
    assert result.stderr == "error: --optim.lrr: unknown setting; did you mean 'optim.lr'?\n"
    assert result.stdout == ""


def test_our_mistake_keeps_its_traceback(recipe: Path, calls: Any) -> None:
    calls.failing["first"] = ZeroDivisionError("a bug")
    result = call("run", str(recipe))
    assert isinstance(result.exception, ZeroDivisionError)
    assert "error:" not in result.stderr


def test_an_interrupt_says_how_to_go_on_and_exits_130(recipe: Path, calls: Any) -> None:
    calls.failing["second"] = KeyboardInterrupt()
    result = call("run", str(recipe))
    assert result.exit_code == 130
    assert "start the same command again to resume" in result.stderr
    assert call("run", str(recipe)).exit_code == 0
    assert calls.names == ["first", "second", "second"]


def test_a_stage_that_fails_is_one_line_too(
    recipe: Path, calls: Any, broken_row: DataError
) -> None:
    calls.failing["first"] = broken_row
    result = call("run", str(recipe))
    assert (result.exit_code, result.stderr) == (2, "error: rows.jsonl:3: not JSON\n")


def test_run_prints_a_line_per_stage_and_skips_what_is_done(recipe: Path) -> None:
    first = call("run", str(recipe), "second.text=B")
    assert first.exit_code == 0
    assert "two: 2 stages in runs/two" in first.stdout
    assert "> second         starting (copy)" in first.stdout
    assert "characters 2" in first.stdout
    again = call("run", str(recipe), "--second.text", "B")
    assert again.stdout.count("done, unchanged") == 2
    assert Path("runs/two/second/out.txt").read_text() == "Ba"


def test_dry_run_says_what_and_why_and_does_nothing(recipe: Path, calls: Any) -> None:
    call("run", str(recipe), "--out", "here", "--until", "first")
    calls.names.clear()
    result = call("run", str(recipe), "--out", "here", "--dry-run", "--from", "first")
    lines = result.stdout.splitlines()
    assert lines[1].split(maxsplit=3) == ["first", "copy", "again", "asked for by --from"]
    assert lines[2].split(maxsplit=3) == ["second", "copy", "run", "not done yet"]
    changed = call("run", str(recipe), "--out", "here", "--dry-run", "first.text=z")
    assert 'text: "a" -> "z"' in changed.stdout
    assert calls.names == []
    assert not Path("here/second").exists()


def test_a_flag_before_the_recipe_is_explained(recipe: Path) -> None:
    result = call("run", "--first.text", "x", str(recipe))
    assert result.exit_code == 2
    assert "write the recipe before its settings" in result.stderr


def test_an_unknown_recipe_lists_the_packaged_ones() -> None:
    result = call("run", "nonsense")
    assert result.exit_code == 2
    assert "there is no recipe file 'nonsense'" in result.stderr
    assert "quickstart" in result.stderr


@pytest.mark.parametrize("name", packaged_recipes())
def test_packaged_recipes_are_valid(name: str, tmp_path: Path) -> None:
    result = call("run", name, "--out", str(tmp_path / "out"), "--dry-run")
    # a recipe for the user's own files may ask for them, by name
    assert (
        result.exit_code == 0
        or "is required" in result.stderr
        or "nothing to read" in (result.stderr)
    )
    assert not (tmp_path / "out").exists()


def test_quickstart_is_the_packaged_recipe(tmp_path: Path) -> None:
    result = call("quickstart", "--dry-run", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0
    kinds = {line.split()[1] for line in result.stdout.splitlines()[1:]}
    assert {"pretrain", "sft", "label", "reward_model", "ppo", "dpo", "evaluate", "report"} <= kinds


def test_print_config_can_be_run_again(tmp_path: Path) -> None:
    flags = ["--model", "m", "demonstrations=d.jsonl", "--optim.lr", "3e-7"]
    printed = call("sft", "--print-config", *flags)
    assert printed.exit_code == 0
    path = tmp_path / "sft.yaml"
    path.write_text(printed.stdout, encoding="utf-8")
    assert call("sft", "--print-config", "--config", str(path)).stdout == printed.stdout
    assert "lr: 3.0e-07" in printed.stdout


def test_a_stage_without_out_says_so() -> None:
    result = call("sft", "--model", "m")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: give the directory of the run as --out DIR\n",
    )


@pytest.mark.parametrize("stage", ["data", "label"])
def test_the_help_of_a_stage_lists_the_verbs_below_it_and_its_settings(stage: str) -> None:
    text = call(stage, "--help").stdout
    verbs = {
        "data": ["inspect", "convert", "clean", "forget"],
        "label": ["import", "invite", "serve", "export", "backup"],
    }
    for verb in verbs[stage]:
        assert f"\n  {stage} {verb}\n" in text
        assert f"Usage: instructgpt {stage} {verb}" in call(stage, verb, "--help").stdout
    assert "\n  --seed  int  [0]" in text
    assert "Also" not in call("sft", "--help").stdout


def test_profile_is_in_the_help_of_stages_that_have_steps() -> None:
    listed = {stem for stem in STAGES if "--profile" in call(stem.replace("_", "-"), "-h").stdout}
    assert listed == {"pretrain", "sft", "reward_model", "ppo", "dpo"}


def test_a_stage_without_steps_refuses_a_profile() -> None:
    result = call("report", "--out", "runs/report", "--profile")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: --profile: 'report' has no steps to record; leave it out\n",
    )


def test_the_closing_words_show_win_rates_report_and_chat(recipe: Path, calls: Any) -> None:
    """A hand-made report.json with the keys that the issue fixes."""
    from instructgpt.cli.console import closing_words
    from instructgpt.pipeline.run import Outcome

    root = Path("runs/x")
    for folder in ("ppo/model", "ppo_ptx/model", "sft/model", "report"):
        (root / folder).mkdir(parents=True)
    rate = {"value": 0.714, "low": 0.68, "high": 0.75, "n": 500}
    models = {
        "sft": {"win_rate_vs_sft": {"sampled": None, "greedy": None}, "pretraining_loss": 0.8},
        "ppo": {
            "win_rate_vs_sft": {"sampled": rate, "greedy": {**rate, "value": 0.622}},
            "pretraining_loss": 0.8761,
            "kl": {"value": 1.5},
        },
    }
    (root / "report/report.json").write_text(json.dumps({"models": models}))
    names = [("sft", "sft"), ("ppo", "ppo"), ("ppo_ptx", "ppo"), ("report", "report")]
    outcomes = [Outcome(name, stem, "run", root / name, 2.0, {}) for name, stem in names]
    result = CliRunner().invoke(_printing(lambda: closing_words(outcomes)))
    lines = result.stdout.splitlines()
    assert "4 stages, 0:08 of work" in lines
    assert "report    runs/x/report/report.html" in lines
    assert lines[-1].startswith("talk ")
    assert lines[-1].endswith(" chat runs/x/ppo_ptx/model")
    table = lines[lines.index("wins against SFT on held-out prompts (95 % interval)") + 1 :]
    assert table[1].split() == ["sft", "-", "-", "0.800", "-"]
    row = ["ppo", "0.71 [0.68, 0.75]", "0.62 [0.68, 0.75]", "0.876", "1.500"]
    assert re.split(r"\s{2,}", table[2]) == row


def _printing(function: Any) -> Any:
    import typer

    printing = typer.Typer()
    printing.command()(function)
    return printing


def test_doctor_names_versions_device_and_dtype() -> None:
    result = call("doctor", "--json")
    findings = {finding["what"]: finding for finding in json.loads(result.stdout)}
    assert findings["python"]["found"].startswith(sys.version.split()[0])
    assert "float" in findings["computes on"]["found"]
    assert ":" in findings["computes on"]["found"]
    assert "GB free" in findings["disk"]["found"]
    text = call("doctor")
    assert "computes on" in text.stdout


def test_doctor_gives_the_remedy_of_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from instructgpt.cli import machine

    real = machine.package_version
    monkeypatch.setattr(
        machine, "package_version", lambda name: None if name == "sacrebleu" else real(name)
    )
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: type("D", (), {"free": 5e8}))
    result = call("doctor")
    assert result.exit_code == 1
    assert "sacrebleu: pip install sacrebleu" in result.stdout
    assert "0.5 GB free" in result.stdout
    assert "disk: free 2 GB" in result.stdout
