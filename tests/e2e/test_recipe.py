"""The real program on a tiny world: every stage, through the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    pipeline,
)

from instructgpt.data.readers import load_demonstrations, load_prompts, load_rankings

RECIPE = Path(__file__).with_name("tiny.yaml")
TRAINED = ["base", "sft", "dpo", "ppo", "ppo_ptx"]


def _instructgpt(*arguments: str, **kwargs) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "instructgpt", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        **kwargs,
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "tiny"
    # where the system keeps temporary files may be memory: everything has to lie beside the runs
    program = f"""import tempfile
tempfile.tempdir = {str(out / "nowhere")!r}
from instructgpt.cli.main import main
main()"""
    done = subprocess.run(
        [sys.executable, "-c", program, "run", str(RECIPE), "--out", str(out)],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert str(out / "report" / "report.html") in done.stdout
    assert f"chat {out / 'ppo_ptx' / 'model'}" in done.stdout
    return out


def test_a_second_run_does_nothing(root):
    again = _instructgpt("run", str(RECIPE), "--out", str(root))
    assert again.returncode == 0
    assert again.stdout.count("done, unchanged") == 11


def test_report_has_the_promised_keys(root):
    report = json.loads((root / "report" / "report.json").read_text(encoding="utf-8"))
    assert set(report) == {"models", "reward_model", "stages", "environment"}
    assert list(report["models"]) == ["base", "sft", "best_of_n", "dpo", "ppo", "ppo_ptx"]
    for model in report["models"].values():
        for condition in ("sampled", "greedy"):
            rate = model["win_rate_vs_sft"][condition]
            assert 0 <= rate["low"] <= rate["value"] <= rate["high"] <= 1
            assert rate["n"] > 0
        assert {"gold", "accuracy", "pretraining_loss", "kl", "length"} <= set(model)
    wanted = {"accuracy", "low", "high", "labeler_agreement", "demonstration_mean"}
    assert wanted <= set(report["reward_model"])
    assert abs(report["reward_model"]["demonstration_mean"]) < 1e-5
    for stage in ("base", "sft", "reward_model", "dpo", "ppo", "ppo_ptx"):
        assert report["stages"][stage]["seconds"] > 0
        assert report["stages"][stage]["tokens"] > 0


def test_report_is_one_offline_file(root):
    html = (root / "report" / "report.html").read_text(encoding="utf-8")
    assert "<script src" not in html
    assert "<link" not in html.replace('<link rel="icon" href="data:', "")
    assert "<svg" in html


@pytest.mark.parametrize("name", TRAINED)
def test_policies_load_with_plain_transformers(root, name):
    folder = root / name / "model"
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chat = pipeline("text-generation", model=model, tokenizer=tokenizer)
    answer = chat([{"role": "user", "content": "Who are you?"}], max_new_tokens=4)
    assert answer[0]["generated_text"][-1]["role"] == "assistant"
    assert model.config.pad_token_id != model.config.eos_token_id
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"


@pytest.mark.parametrize("folder", ["reward_model/model", "ppo/critic"])
def test_reward_model_loads_with_plain_transformers(root, folder):
    model = AutoModelForSequenceClassification.from_pretrained(root / folder)
    tokenizer = AutoTokenizer.from_pretrained(root / folder)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
        tokenize=False,
    )
    score = pipeline("text-classification", model=model, tokenizer=tokenizer)(text)[0]
    with torch.no_grad():
        raw = model(**tokenizer(text, return_tensors="pt")).logits.item()
    assert score["score"] == pytest.approx(raw, abs=1e-5)


def test_plain_ppo_is_ppo_ptx_with_coefficient_zero(root, tmp_path):
    """The pretraining machinery leaves no trace when its coefficient is 0, bit for bit."""
    config = root / "ppo" / "config.yaml"
    done = _instructgpt(
        "ppo", "--config", str(config), "--out", str(tmp_path / "ppo"), "--ptx_ratio", "3.0"
    )
    assert done.returncode == 0, done.stderr
    ours, theirs = (
        (folder / "model" / "model.safetensors").read_bytes()
        for folder in (tmp_path / "ppo", root / "ppo")
    )
    assert ours == theirs


def test_evaluation_prompts_were_never_trained_on(root):
    world = root / "world"
    evaluated = {p.key for p in load_prompts(world / "prompts_eval.jsonl").records}
    trained = {d.prompt.key for d in load_demonstrations(world / "demonstrations.jsonl").records}
    trained |= {p.key for p in load_prompts(world / "prompts_ppo.jsonl").records}
    trained |= {p.key for p in load_prompts(world / "prompts_rank.jsonl").records}
    assert evaluated
    assert not evaluated & trained


def test_rankings_are_split_by_prompt(root):
    train, heldout = (
        {r.prompt.key for r in load_rankings(root / "label" / f"{name}.jsonl").records}
        for name in ("rankings", "rankings_heldout")
    )
    assert train
    assert heldout
    assert not train & heldout


def test_generate_answers_on_standard_output(root):
    model = str(root / "sft" / "model")
    done = _instructgpt("generate", model, "Where does Anna live?", "--max-new-tokens", "5")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\n")


def test_chat_keeps_a_conversation(root):
    model = str(root / "sft" / "model")
    typed = "Hi\n/new\nAnd you?\n/quit\n"
    done = _instructgpt("chat", model, "--max-new-tokens", "3", input=typed)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("> ") == 4


def test_two_runs_in_one_directory_are_refused(root, tmp_path):
    arguments = ["sft", "--config", str(root / "sft" / "config.yaml"), "--out", str(tmp_path / "r")]
    first = subprocess.Popen(
        [sys.executable, "-m", "instructgpt", *arguments, "--epochs", "400"],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        while not (tmp_path / "r" / "manifest.json").exists():
            assert first.poll() is None
        second = _instructgpt(*arguments, "--epochs", "400")
    finally:
        first.kill()
        first.wait()
    assert second.returncode == 2
    assert second.stderr.startswith("error: ")
    assert len(second.stderr.splitlines()) == 1
