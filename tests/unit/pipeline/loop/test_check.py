"""Mistakes in a loop's file are one line each, before its start is begun."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from instructgpt.config.loop import load_loop
from instructgpt.errors import ConfigError, RunDirError
from instructgpt.loop.history import add_event
from instructgpt.pipeline.loop.check import check_loop
from instructgpt.pipeline.loop.run import run_loop

TESTS = Path(__file__).parents[3]
TINY = TESTS / "e2e" / "tiny_loop.yaml"
PEOPLE = """\
people: {models: ["@sft/model"]}
round:
  sft: {model: gpt2, demonstrations: "@demonstrations/demonstrations.jsonl"}
  label: {people: "@people/rankings.jsonl", judges: [{type: reward_model, model: x}]}
  ppo: {model: "@sft/model", reward_model: x, prompts: "@prompts/ppo.jsonl"}
"""


def with_change(tmp_path: Path, old: str, new: str) -> Path:
    text = TINY.read_text(encoding="utf-8")
    assert text.count(old) == 1, old
    path = tmp_path / "loop.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def line_of(path: Path, text: str) -> int:
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


@pytest.mark.parametrize("path", [TINY, TESTS.parent / "recipes" / "loops" / "quickstart.yaml"])
def test_what_is_right_is_let_through(path) -> None:
    check_loop(load_loop(path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    episodes: 32", "    epsiodes: 32", "unknown key 'epsiodes'; did you mean 'episodes'"),
        ('"@prompts/ppo.jsonl"', '"@prompt/ppo.jsonl"', "ppo.prompts: .* did you mean 'prompts'"),
        (
            '"@prompts/ppo.jsonl"',
            '"@prompts/ppoo.jsonl"',
            "ppo.prompts: '@prompts/ppoo.jsonl': there are .* ppo.jsonl, ",
        ),
        ('served: "@sft/model"', 'served: "@sfft/model"', "served: .* did you mean 'sft'"),
        ('\ncandidate: "@ppo', '\ncandidate: "@pppo', "candidate: '@pppo/model': .* mean 'ppo'"),
        (
            '\ncandidate: "@ppo/model"',
            '\ncandidate: "@prompts/ppo.jsonl"',
            "candidate: .* is no model",
        ),
        (
            '\ncandidate: "@ppo/model"',
            '\ncandidate: "@start/sft"',
            "candidate: '@start/sft': that is the run that makes it; add /model",
        ),
        ('served: "@sft/model"', 'served: "@sft"', "served: '@sft': that is the run .* /model"),
        ("people: 6, unk", "peopel: 6, unk", "did you mean 'people'"),
        ('world: "@world"', 'world: "@wurld"', "world: '@wurld': .* did you mean 'world'"),
        ('world: "@world"', 'world: "@ppo"', "world: '@ppo': `start` has no such stage"),
        (
            '{type: reward_model, model: "@reward_model/model"}',
            '{type: reward_model, model: "@rewardmodel/model"}',
            "compare.judges: '@rewardmodel/model': .* did you mean 'reward_model'",
        ),
        (
            'known: "@world/prompts_ppo.jsonl"',
            'known: "@wold/prompts_ppo.jsonl"',
            "prompts.known: .* did you mean 'world'",
        ),
        ('["@sft/model", "@served"]', '["@served/model"]', "label.models: .* the model itself"),
        ('model: "@start/base/model"', 'model: "@start/bass/model"', "no stage 'bass'"),
        ('    reward_model: "@reward_model/model"', "", "'ppo.reward_model' is required; .*file$"),
    ],
)
def test_a_mistake_in_a_round_is_found_before_the_start(tmp_path, old, new, message) -> None:
    """They came to light when the start, or a whole round, had been made."""
    path = with_change(tmp_path, old, new)
    with pytest.raises(ConfigError, match=message) as refused:
        run_loop(load_loop(path), tmp_path / "loop", by="ann")
    assert "\n" not in str(refused.value)
    if new.strip():
        assert f"{path}:{line_of(path, new.strip().splitlines()[0])}: " in str(refused.value)
    assert not (tmp_path / "loop").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('{models: ["@sft/model"]}', '{models: ["@ppo/model"]}', "made after people have ranked"),
        ('people: {models: ["@sft/model"]}\n', "", "give `people:` too"),
        ('people: "@people/rankings.jsonl"', 'people: "x"', "people rank, and no stage reads it"),
    ],
)
def test_people_rank_what_is_there_for_a_stage_that_reads_it(tmp_path, old, new, message) -> None:
    path = tmp_path / "loop.yaml"
    own = 'served: "@sft/model"\ncandidate: "@ppo/model"\n'
    own += "start: {sft: {model: x, demonstrations: x}}\n"
    path.write_text(own + PEOPLE)
    check_loop(load_loop(path))
    path.write_text(own + PEOPLE.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        check_loop(load_loop(path))


def test_a_loop_is_not_called_as_one_of_its_models(tmp_path) -> None:
    """A client that asked for `round-1` got whatever was promoted."""
    path = with_change(tmp_path, "name: tiny", "name: round-1")
    with pytest.raises(ConfigError, match=r"loop.yaml:2: name: 'round-1' is what a model"):
        load_loop(path)
    load_loop(with_change(tmp_path, "name: tiny", "name: round-one"))


def test_a_missing_key_advises_no_flag_that_there_is_not(tmp_path) -> None:
    path = with_change(tmp_path, 'served: "@sft/model"\n', "")
    with pytest.raises(ConfigError, match=r"'served' is required; give it in a YAML file$"):
        load_loop(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: tiny", "name: other", "name: .* begun with tiny, which cannot become other"),
        ('served: "@sft/', 'served: "@base/', "served: .* start/sft/model, which cannot become"),
    ],
)
def test_what_a_loop_began_with_stays(tmp_path, old, new, message) -> None:
    """Another name or first model was taken and ignored."""
    root = tmp_path / "loop"
    (root / "rounds").mkdir(parents=True)
    add_event(root, "begun", 0, "ann", name="tiny", model="start/sft/model")
    with pytest.raises(ConfigError, match=message):
        run_loop(load_loop(with_change(tmp_path, old, new)), root, by="ann")
    shutil.rmtree(root)


def test_a_file_as_the_loop_s_folder(tmp_path) -> None:
    (tmp_path / "loop").write_text("")
    with pytest.raises(RunDirError, match="is a file; choose a folder with --out"):
        run_loop(load_loop(TINY), tmp_path / "loop", by="ann")
