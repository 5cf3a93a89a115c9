"""The stage writes files that readers accept, the same each time, with clean evaluation."""

from __future__ import annotations

import pytest

from instructgpt.config.microworld import MicroworldConfig
from instructgpt.data.readers import (
    load_demonstrations,
    load_documents,
    load_prompts,
)
from instructgpt.data.splits import contamination
from instructgpt.microworld import stage
from instructgpt.storage.run_dir import RunDir

CONFIG = MicroworldConfig(
    people=10,
    unknown=3,
    documents=60,
    documents_heldout=20,
    demonstrations=300,
    demonstrations_valid=40,
    prompts_rank=100,
    prompts_ppo=150,
    prompts_eval=120,
)


def _write(path, config=CONFIG):
    with RunDir.open(path, "microworld", config.model_dump(mode="json"), config.seed) as run:
        return stage.run(config, run)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "world"
    return path, _write(path)


def test_counts_are_as_asked(world):
    path, summary = world
    assert len(load_documents(path / "documents.jsonl").records) == 60
    assert len(load_documents(path / "documents_heldout.jsonl").records) == 20
    assert len(load_demonstrations(path / "demonstrations.jsonl").records) == 300
    assert len(load_demonstrations(path / "demonstrations_valid.jsonl").records) == 40
    for name, count in (("rank", 100), ("ppo", 150), ("eval", 120)):
        prompts = load_prompts(path / f"prompts_{name}.jsonl").records
        assert len(prompts) == count == summary[f"prompts_{name}"]
        assert len({prompt.key for prompt in prompts}) == count


def test_evaluation_prompts_never_occur_in_training(world):
    path, summary = world
    evaluation = load_prompts(path / "prompts_eval.jsonl").records
    demonstrations = load_demonstrations(path / "demonstrations.jsonl").records
    training = [d.prompt for d in demonstrations]
    for name in ("rank", "ppo"):
        training += load_prompts(path / f"prompts_{name}.jsonl").records
    assert contamination(training, evaluation).indices == ()
    valid = load_demonstrations(path / "demonstrations_valid.jsonl").records
    assert contamination(demonstrations, valid).indices == ()
    assert summary["draws_turned_away"] > 0
    assert not any(p.meta["phrasing_held_out"] or p.meta["fact_held_out"] for p in training)


def test_evaluation_covers_all_four_strata_evenly(world):
    path, _ = world
    evaluation = load_prompts(path / "prompts_eval.jsonl").records
    strata = [(p.meta["phrasing_held_out"], p.meta["fact_held_out"]) for p in evaluation]
    for stratum in ((False, False), (False, True), (True, False), (True, True)):
        assert strata.count(stratum) >= 120 // 8


def test_the_same_settings_write_the_same_bytes(world, tmp_path):
    path, _ = world
    _write(tmp_path / "again")
    _write(tmp_path / "other", CONFIG.model_copy(update={"seed": 1}))
    for name in ("world.json", "documents.jsonl", "demonstrations.jsonl", "prompts_eval.jsonl"):
        written = (path / name).read_bytes()
        assert (tmp_path / "again" / name).read_bytes() == written
        assert (tmp_path / "other" / name).read_bytes() != written
