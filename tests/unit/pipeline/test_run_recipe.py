"""What a recipe run does and leaves alone, seen from which stages ran and what lies on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from instructgpt.errors import ConfigError, DataError, RunDirError
from instructgpt.pipeline.plan import Action
from instructgpt.pipeline.run import Observer, Outcome, run_recipe, run_stage
from instructgpt.storage.lock import DirectoryLock

RECIPE = """\
name: chain
seed: 3
stages:
  first: {stage: copy, text: a}
  second: {stage: copy, text: b, source: "@first/out.txt"}
  side: {stage: copy, text: s}
  third: {stage: copy, text: c, source: "@second/out.txt", seed: 11}
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "chain.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


class Notes(Observer):
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def skipped(self, outcome: Outcome, why: str) -> None:
        self.lines.append(f"skip {outcome.name}: {why}")

    def starting(self, name: str, stem: str, action: Action) -> None:
        self.lines.append(f"{action.kind} {name} ({stem}): {action.why}")

    def finished(self, outcome: Outcome) -> None:
        self.lines.append(f"done {outcome.name}: {outcome.summary}")


def test_stages_run_in_order_and_feed_each_other(recipe: Path, calls: Any) -> None:
    outcomes = run_recipe(recipe)
    assert calls.names == ["first", "second", "side", "third"]
    assert Path("runs/chain/third/out.txt").read_text() == "cba"
    assert [outcome.summary["text"] for outcome in outcomes] == ["a", "ba", "s", "cba"]
    manifest = json.loads(Path("runs/chain/third/manifest.json").read_text())
    parent = json.loads(Path("runs/chain/second/manifest.json").read_text())
    assert manifest["parents"] == {"second": parent["fingerprint"]}
    assert manifest["config"]["source"] == "@second/out.txt"


def test_a_second_run_does_nothing(recipe: Path, calls: Any) -> None:
    run_recipe(recipe, "out")
    calls.names.clear()
    notes = Notes()
    outcomes = run_recipe(recipe, "out", observer=notes)
    assert calls.names == []
    assert notes.lines == [
        f"skip {name}: done, unchanged" for name in ("first", "second", "side", "third")
    ]
    assert [outcome.summary["characters"] for outcome in outcomes] == [1, 2, 1, 3]


def test_moving_the_root_changes_nothing(recipe: Path, calls: Any, tmp_path: Path) -> None:
    run_recipe(recipe, "out")
    (tmp_path / "elsewhere").mkdir()
    Path("out").rename(tmp_path / "elsewhere" / "moved")
    calls.names.clear()
    run_recipe(recipe, tmp_path / "elsewhere" / "moved")
    assert calls.names == []


def test_a_changed_setting_redoes_that_stage_and_its_descendants_only(
    recipe: Path, calls: Any
) -> None:
    run_recipe(recipe, "out")
    calls.names.clear()
    notes = Notes()
    run_recipe(recipe, "out", ["second.text=B"], observer=notes)
    assert calls.names == ["second", "third"]
    assert 'again second (copy): text: "b" -> "B"' in notes.lines
    assert "again third (copy): second changed" in notes.lines
    assert Path("out/third/out.txt").read_text() == "cBa"
    assert Path("out/stale/third-1/out.txt").read_text() == "cba"
    calls.names.clear()
    run_recipe(recipe, "out", ["second.text=D"])
    assert Path("out/stale/third-2/out.txt").read_text() == "cBa"
    assert Path("out/stale/second-1/out.txt").read_text() == "ba"


def test_a_changed_outside_file_redoes_what_reads_it(recipe: Path, calls: Any) -> None:
    Path("corpus.txt").write_text("x")
    recipe.write_text("stages:\n  a: {stage: copy, source: corpus.txt}\n  b: {stage: copy}\n")
    run_recipe(recipe, "out")
    Path("corpus.txt").write_text("y")
    calls.names.clear()
    notes = Notes()
    run_recipe(recipe, "out", observer=notes)
    assert calls.names == ["a"]
    assert "again a (copy): corpus.txt changed" in notes.lines


def test_a_stage_that_reads_everything_is_redone_when_anything_changed(
    recipe: Path, calls: Any
) -> None:
    recipe.write_text(RECIPE + "  report: {stage: gather}\n")
    run_recipe(recipe, "out")
    calls.names.clear()
    run_recipe(recipe, "out", ["side.text=S"])
    assert calls.names == ["side", "report"]


def test_an_interrupted_stage_is_resumed_in_place(recipe: Path, calls: Any) -> None:
    calls.failing["second"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, "out")
    Path("out/second/checkpoints").mkdir()
    calls.names.clear()
    notes = Notes()
    run_recipe(recipe, "out", observer=notes)
    assert calls.names == ["second", "side", "third"]
    assert notes.lines[:2] == ["skip first: done, unchanged", "resume second (copy): interrupted"]
    assert not Path("out/stale").exists()
    assert Path("out/second/checkpoints").is_dir()


def test_a_stage_that_fails_stops_the_run_and_keeps_what_was_done(
    recipe: Path, calls: Any, broken_row: DataError
) -> None:
    calls.failing["side"] = broken_row
    with pytest.raises(DataError):
        run_recipe(recipe, "out")
    assert calls.names == ["first", "second", "side"]
    assert Path("out/second/done.json").exists()
    assert not Path("out/side/done.json").exists()


def test_until_stops_there_and_from_redoes_the_rest(recipe: Path, calls: Any) -> None:
    run_recipe(recipe, "out", until="second")
    assert calls.names == ["first", "second"]
    run_recipe(recipe, "out")
    calls.names.clear()
    notes = Notes()
    run_recipe(recipe, "out", start="side", observer=notes)
    assert calls.names == ["side", "third"]
    assert "again side (copy): asked for by --from" in notes.lines
    assert Path("out/stale/side-1").is_dir()


@pytest.mark.parametrize("option", ["until", "start"])
def test_an_unknown_stage_lists_the_known_ones(recipe: Path, calls: Any, option: str) -> None:
    with pytest.raises(ConfigError, match="the stages are first, second, side, third"):
        run_recipe(recipe, "out", **{option: "thrid"})
    assert calls.names == []


def test_seeds_come_from_the_recipe_unless_a_stage_gives_its_own(recipe: Path, calls: Any) -> None:
    run_recipe(recipe, "out")
    first = {name: config.seed for name, config in calls.configs.items()}
    run_recipe(recipe, "other", ["seed=4"])
    second = {name: config.seed for name, config in calls.configs.items()}
    assert first["third"] == second["third"] == 11
    assert all(first[name] != second[name] for name in ("first", "second", "side"))
    assert len(set(first.values())) == 4


def test_a_partly_given_section_keeps_the_stage_defaults(recipe: Path, calls: Any) -> None:
    run_recipe(recipe, "out", ["--first.optim.steps", "9"])
    assert (calls.configs["first"].optim.lr, calls.configs["first"].optim.steps) == (0.25, 9)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["frist.text=x"], "frist.text: write STAGE.SETTING, and 'frist' is no stage of"),
        (["frist.text=x"], "did you mean 'first'?"),
        (["first=x"], "first: write first.SETTING=VALUE"),
        (["first.tixt=x"], "first.tixt: unknown setting; did you mean 'text'?"),
        (["seed=-1"], "seed: use a whole number >= 0, got '-1'"),
        (["first.seed=x"], "first.seed: input should be a valid integer"),
        (["second.source=@side/x"], "second.source: source: '@side/x': stage 'side' comes later"),
    ],
)
def test_wrong_overrides_are_refused_before_anything_runs(
    recipe: Path, calls: Any, flags: list[str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        run_recipe(recipe, "out", flags)
    assert message in str(caught.value)
    assert not Path("out").exists()


def test_wrong_settings_in_the_recipe_name_the_line(recipe: Path, calls: Any) -> None:
    recipe.write_text("stages:\n  a: {stage: copy, txt: x}\n")
    with pytest.raises(ConfigError, match=r"chain.yaml:2: unknown key 'txt'; did you mean 'text'"):
        run_recipe(recipe, "out")
    recipe.write_text("stages:\n  a: {stage: copyy}\n")
    with pytest.raises(
        ConfigError, match=r"chain.yaml:2: there is no kind of stage called 'copyy'"
    ):
        run_recipe(recipe, "out")


def test_two_runs_below_one_root_at_once_are_refused(recipe: Path, calls: Any) -> None:
    Path("out").mkdir()
    lock = DirectoryLock(Path("out"))
    with pytest.raises(RunDirError, match="in use by process"):
        run_recipe(recipe, "out")
    lock.release()
    run_recipe(recipe, "out")
    assert len(calls.names) == 4


def test_a_stage_alone_runs_once_and_refuses_other_settings(recipe: Path, calls: Any) -> None:
    assert run_stage("copy", "one", flags=["text=x"]).action == "run"
    assert run_stage("copy", "one", flags=["text=x"]).action == "skip"
    with pytest.raises(RunDirError, match='text: "x" -> "y"'):
        run_stage("copy", "one", flags=["text=y"])
    assert calls.names == ["one"]
    assert Path("one/out.txt").read_text() == "x"


def test_a_stage_alone_is_resumed(recipe: Path, calls: Any) -> None:
    calls.failing["one"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run_stage("copy", "one", flags=["text=x"])
    assert run_stage("copy", "one", flags=["text=x"]).action == "resume"


def test_the_config_of_a_run_can_be_run_again(recipe: Path, calls: Any) -> None:
    run_recipe(recipe, "out")
    outcome = run_stage("copy", "again", [Path("out/third/config.yaml")])
    assert outcome.summary["text"] == "cba"
    assert calls.configs["again"].seed == 11


def test_a_gathering_stage_alone_looks_at_its_siblings(recipe: Path, calls: Any) -> None:
    run_recipe(recipe, "out")
    assert run_stage("gather", "out/report").action == "run"
    assert run_stage("gather", "out/report").action == "skip"
    run_recipe(recipe, "out", ["side.text=S"])
    with pytest.raises(RunDirError, match=r"parents\.side"):
        run_stage("gather", "out/report")
