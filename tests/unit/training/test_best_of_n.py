"""Best-of-n in parts: whose samples are in memory together decides nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from instructgpt.config.pretrain import ModelShape
from instructgpt.models.create import create_causal_lm
from instructgpt.models.export import export_model
from instructgpt.models.load import new_reward_model
from instructgpt.pipeline.run import run_stage
from instructgpt.text.tokenizer import train_bpe
from instructgpt.training import best_of_n

FACTS = {"name": "x", "stage": "sft", "version": "0", "seed": 0, "parents": {}, "summary": {}}


def test_prompts_are_answered_as_one_would_answer_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [f"Where does number {i} live?" for i in range(11)]
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in asked))
    tokenizer = train_bpe(asked, 300)
    shape = ModelShape(architecture="llama", layers=1, width=16, heads=2, context=64)
    export_model(create_causal_lm(shape, tokenizer, seed=0), tokenizer, tmp_path / "lm", FACTS)
    judge = new_reward_model(tmp_path / "lm", seed=1, device="cpu", dtype="float32")
    export_model(judge.model, judge.tokenizer, tmp_path / "rm", FACTS)
    found = []
    for at_once in (1024, 4):
        monkeypatch.setattr(best_of_n, "_AT_ONCE", at_once)
        flags = [f"model={tmp_path / 'lm'}", f"reward_model={tmp_path / 'rm'}", "num_prompts=10"]
        flags += [f"prompts={prompts}", "n=3", "sampling.max_new_tokens=6"]
        done = run_stage("best_of_n", tmp_path / str(at_once), flags=flags)
        lines = (done.path / "demonstrations.jsonl").read_text(encoding="utf-8").splitlines()
        found.append([json.loads(line) for line in lines])
        assert done.summary["prompts"] == 10
    together, parts = found
    assert [row["prompt"][0]["content"] for row in parts] == asked[:10]
    assert [row["completion"] for row in parts] == [row["completion"] for row in together]
    assert len({row["completion"] for row in parts}) == 10
    assert [row["score"] for row in parts] == pytest.approx([row["score"] for row in together])
