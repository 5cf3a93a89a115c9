"""Exports: what plain transformers makes of them, lineage, GGUF's command, the hub's errors."""

from __future__ import annotations

import errno
import json
import os
import sys
from unittest.mock import create_autospec

import huggingface_hub
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from instructgpt.config.pretrain import ModelShape
from instructgpt.errors import CheckpointError, ConfigError, RemoteError, RunDirError
from instructgpt.models import hub
from instructgpt.models.create import create_causal_lm
from instructgpt.models.export import export_model
from instructgpt.models.gguf import converter_command, pre_tokenizer_name, publish_gguf
from instructgpt.models.load import load_reward_model, new_reward_model
from instructgpt.models.publish import publish
from instructgpt.storage.lineage import find_lineage, find_scores
from instructgpt.storage.run_dir import RunDir
from instructgpt.text.tokenizer import train_bpe

TEXTS = ["Where does Anna live? She lives in the blue house.", "安娜住在哪里？她住在蓝色的房子里。"]
DIALOGUE = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
FACTS = {"name": "sft", "stage": "sft", "version": "0", "seed": 1, "parents": {}, "summary": {}}


def _policy(folder, architecture="llama"):
    tokenizer = train_bpe(TEXTS, 400)
    shape = ModelShape(architecture=architecture, layers=1, width=32, heads=2, context=128)
    export_model(create_causal_lm(shape, tokenizer, seed=0), tokenizer, folder, FACTS)
    return folder


def _reward_model(folder, base, bias):
    scalar = new_reward_model(base, seed=3, device="cpu", dtype="float32")
    scalar.bias = bias
    export_model(scalar.model, scalar.tokenizer, folder, {**FACTS, "stage": "reward_model"})
    return folder


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_policy_chats_with_the_plain_pipeline(tmp_path, dtype):
    done = publish(_policy(tmp_path / "model"), tmp_path / "out", dtype)
    assert done.dtype == dtype
    assert (done.rounding == 0) == (dtype == "float32")
    assert done.rounding < 0.1
    chat = pipeline("text-generation", model=str(tmp_path / "out"), dtype="auto")
    assert chat.model.dtype == getattr(torch, dtype)
    answer = chat([{"role": "user", "content": "Hi"}], max_new_tokens=3)
    assert answer[0]["generated_text"][-1]["role"] == "assistant"
    ends = json.loads((tmp_path / "out" / "generation_config.json").read_text())["eos_token_id"]
    assert chat.tokenizer.eos_token_id in ends


@pytest.mark.parametrize(("architecture", "left_out"), [("gpt2", 0.0), ("llama", 0.75)])
def test_the_plain_pipeline_gives_the_reward_with_its_bias_where_the_norm_has_one(
    tmp_path, architecture, left_out
):
    base = _policy(tmp_path / "base", architecture)
    source = _reward_model(tmp_path / "reward", base, bias=0.75)
    done = publish(source, tmp_path / "out")
    assert done.reward_bias == left_out
    tokenizer = AutoTokenizer.from_pretrained(source)
    text = tokenizer.apply_chat_template(DIALOGUE, tokenize=False)
    # the source's own classifier knows nothing of the bias
    plain = AutoModelForSequenceClassification.from_pretrained(source)
    with torch.no_grad():
        raw = plain(**tokenizer(text, return_tensors="pt")).logits.item()
    said = pipeline("text-classification", model=str(tmp_path / "out"))(text)[0]["score"]
    assert said == pytest.approx(raw + 0.75 - left_out, abs=1e-5)
    ours = load_reward_model(tmp_path / "out")
    assert ours.bias == left_out


def test_a_damaged_model_leaves_nothing_behind(tmp_path, monkeypatch):
    _policy(tmp_path / "model")
    monkeypatch.setattr(
        "instructgpt.models.publish._load_plainly", lambda folder, reward: _other(folder)
    )
    with pytest.raises(CheckpointError, match=r"does not load as it was written"):
        publish(tmp_path / "model", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def _other(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    shape = ModelShape(architecture="llama", layers=1, width=32, heads=2, context=128)
    return create_causal_lm(shape, tokenizer, seed=9), tokenizer


def test_a_dtype_that_is_none_and_weights_that_overflow(tmp_path):
    tokenizer = train_bpe(TEXTS, 400)
    model = create_causal_lm(ModelShape(layers=1, width=32, heads=2, context=64), tokenizer, 0)
    with torch.no_grad():
        model.get_input_embeddings().weight[:, 0] = 1e6
    export_model(model, tokenizer, tmp_path / "model", FACTS)
    with pytest.raises(ConfigError, match=r"--dtype int8: use one of float32"):
        publish(tmp_path / "model", tmp_path / "out", "int8")
    with pytest.raises(ConfigError, match=r"overflows in it; use bfloat16"):
        publish(tmp_path / "model", tmp_path / "out", "float16")


def _recipe(root):
    """world -> sft -> ppo, evaluated under the name `ours`, with a report of it."""
    finished = {}
    best = {"model": "@ppo/model", "reward_model": "@rm/model", "n": 4}  # not ppo's own answers
    stages = {
        "world": ("microworld", {}, []),
        "sft": ("sft", {}, ["world"]),
        "ppo": ("ppo", {}, ["sft", "world"]),
        "evaluate": ("evaluate", {"models": {"ours": "@ppo/model", "best": best}}, ["ppo"]),
        "report": ("report", {}, ["ppo", "evaluate"]),
    }
    for name, (stage, config, made_from) in stages.items():
        parents = {one: finished[one] for one in made_from}
        if name == "world":
            parents = {"names.txt": "f" * 64}
        with RunDir.open(root / name, stage, config, seed=0, parents=parents) as run:
            finished[name] = run.fingerprint
            run.finish({})
    rate = {"value": 0.61, "low": 0.52, "high": 0.7, "n": 100}
    models = {"ours": {"win_rate_vs_sft": {"greedy": rate}, "kl": 3.25, "gold": None}}
    models["best"] = {"kl": 9.0}
    report = {"models": models, "reward_model": {}, "stages": {}, "environment": {}}
    (root / "report" / "report.json").write_text(json.dumps(report))
    return finished


def test_lineage_and_scores_come_from_the_runs_beside_it(tmp_path):
    finished = _recipe(tmp_path)
    rows = find_lineage(tmp_path / "ppo")
    assert [(row["name"], row["stage"]) for row in rows] == [
        ("names.txt", None), ("world", "microworld"), ("sft", "sft"), ("ppo", "ppo"),
    ]  # fmt: skip
    assert rows[-1]["made_from"] == ["sft", "world"]
    assert rows[-1]["fingerprint"] == finished["ppo"]
    scores = {"win_rate_vs_sft greedy": "0.610 [0.520, 0.700]", "kl": "3.25"}
    assert find_scores(tmp_path / "ppo") == scores
    assert find_scores(tmp_path / "sft") == {}
    _policy(tmp_path / "ppo" / "model")
    publish(tmp_path / "ppo", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f"| ppo | ppo | sft, world | `{finished['ppo'][:16]}` |" in card
    assert "| win_rate_vs_sft greedy | 0.610 [0.520, 0.700] |" in card


CONVERTERS = {
    "one file": {"convert_hf_to_gguf.py": "{base}{main}"},
    "a package": {
        "convert_hf_to_gguf.py": "from conversion.base import TextModel\n{main}",
        "conversion/__init__.py": "",
        "conversion/base.py": "{base}",
    },
}
BASE = """
class TextModel:
    def get_vocab_base_pre(self, tokenizer):
        raise NotImplementedError("BPE pre-tokenizer was not recognized")
"""
MAIN = """
import json, sys
from importlib.util import find_spec
def main():
    # the real one imports transformers, which looks for a package `kernels`
    assert find_spec("kernels") is None or "instructgpt" not in find_spec("kernels").origin
    config = json.load(open(sys.argv[1] + "/config.json"))
    assert config["model_type"] != "gpt2" or config["n_ctx"] == 128  # the real one reads it
    open(sys.argv[3], "w").write(json.dumps([TextModel().get_vocab_base_pre(None), sys.argv[1:]]))
if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("layout", CONVERTERS)
def test_the_converter_is_told_the_pre_tokenizer(tmp_path, layout, architecture):
    for name, text in CONVERTERS[layout].items():
        path = tmp_path / "llama.cpp" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(base=BASE, main=MAIN))
    converter = tmp_path / "llama.cpp" / "convert_hf_to_gguf.py"
    source = _policy(tmp_path / "model", architecture)
    publish_gguf(source, tmp_path / "out.gguf", converter, "bfloat16")
    name, arguments = json.loads((tmp_path / "out.gguf").read_text())
    assert name == "gpt-2"
    assert arguments[1] == "--outfile"
    assert arguments[3:] == ["--outtype", "bf16"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["llama.cpp", "model", "out.gguf"]


def test_a_converter_that_fails_is_quoted_and_leaves_no_file(tmp_path):
    converter = tmp_path / "convert_hf_to_gguf.py"
    converter.write_text("raise SystemExit('no module named gguf')")
    with pytest.raises(CheckpointError, match=r"convert_hf_to_gguf.py failed: .*no module named"):
        publish_gguf(_policy(tmp_path / "m"), tmp_path / "out.gguf", converter, "float32")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["convert_hf_to_gguf.py", "m"]


@pytest.mark.parametrize(
    ("out", "kind", "message"),
    [
        ("folder.gguf", ConfigError, r"folder.gguf' exists and is not replaced; give a new name"),
        ("theirs.gguf", ConfigError, r"theirs.gguf' exists and is not replaced"),
        ("theirs.gguf/out.gguf", RunDirError, r"cannot write '.*out.gguf': Not a directory; check"),
        ("n" * 300 + ".gguf", RunDirError, r"cannot write .*: File name too long; check"),
        ("out.bin", ConfigError, r"give a file name that ends in .gguf"),
    ],
)
def test_nothing_is_converted_for_a_place_that_cannot_take_it(
    tmp_path, monkeypatch, out, kind, message
):
    """A directory and a file in the way were tracebacks after the work, a file was overwritten."""
    _forbid_publishing(monkeypatch)
    (tmp_path / "folder.gguf").mkdir()
    (tmp_path / "theirs.gguf").write_text("theirs")
    converter = tmp_path / "convert_hf_to_gguf.py"
    converter.write_text("")
    with pytest.raises(kind, match=message):
        publish_gguf(_policy(tmp_path / "m"), tmp_path / out, converter, "float32")
    assert (tmp_path / "theirs.gguf").read_text() == "theirs"
    assert len(list(tmp_path.iterdir())) == 4


def test_a_forbidden_folder_is_refused_before_anything_is_converted(tmp_path, monkeypatch):
    def refuse(*_arguments, **_settings):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    _forbid_publishing(monkeypatch)
    monkeypatch.setattr("instructgpt.models.gguf.tempfile.TemporaryDirectory", refuse)
    converter = tmp_path / "convert_hf_to_gguf.py"
    converter.write_text("")
    with pytest.raises(RunDirError, match=r"cannot write '.*out.gguf': Permission denied; check"):
        publish_gguf(_policy(tmp_path / "m"), tmp_path / "out.gguf", converter, "float32")


def _forbid_publishing(monkeypatch):
    def publish(*_arguments):
        raise AssertionError("it was to be refused before")

    monkeypatch.setattr("instructgpt.models.gguf.publish", publish)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"--converter is missing; give the path of convert_hf_to_gguf.py in your copy"),
        ("", r"--converter .*converter: No such file or directory; give the path"),
        ("folder", r"--converter .*converter: Is a directory; give the path"),
        ("#!/bin/sh\necho hello $1\n", r"converter: not a Python program; give the path"),
        ("\x7fELF\x00", r"converter: not a Python program; give the path"),
    ],
)
def test_what_is_no_converter_is_refused_before_anything_is_converted(tmp_path, content, message):
    path = tmp_path / "converter"
    if content == "folder":
        path.mkdir()
    elif content:
        path.write_text(content)
    given = None if content is None else path
    with pytest.raises(ConfigError, match=message):
        publish_gguf(tmp_path / "m", tmp_path / "o.gguf", given, "float32")


def test_other_tokenizers_are_left_to_the_converter(tmp_path):
    tokenizer = train_bpe(TEXTS, 400)
    assert pre_tokenizer_name(tokenizer) == "gpt-2"
    from tokenizers import pre_tokenizers

    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    assert pre_tokenizer_name(tokenizer) is None
    assert converter_command(tmp_path / "c.py", tmp_path, tmp_path / "o", "float16", None) == [
        sys.executable, str(tmp_path / "c.py"), str(tmp_path), "--outfile", str(tmp_path / "o"),
        "--outtype", "f16",
    ]  # fmt: skip


@pytest.fixture
def api(monkeypatch):
    """The hub's client with its real signatures, and nothing behind it."""
    made = create_autospec(huggingface_hub.HfApi, instance=True)
    made.endpoint = "https://hub.example"
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: made)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_x")
    return made


def test_push_makes_the_repository_and_uploads_the_folder(tmp_path, api):
    folder = _policy(tmp_path / "model")
    address = hub.push(folder, "anna/house", private=True)
    assert address == "https://hub.example/anna/house"
    api.create_repo.assert_called_once_with("anna/house", private=True, exist_ok=True)
    uploaded = api.upload_folder.call_args.kwargs
    assert (uploaded["repo_id"], uploaded["folder_path"]) == ("anna/house", folder)


def test_push_refuses_before_it_asks_the_hub(tmp_path, api, monkeypatch):
    with pytest.raises(CheckpointError, match=r"is no export .*instructgpt export"):
        hub.push(tmp_path, "anna/house")
    folder = _policy(tmp_path / "model")
    with pytest.raises(ConfigError, match=r"owner/name"):
        hub.push(folder, "house")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(ConfigError, match=r"hf auth login.*HF_TOKEN"):
        hub.push(folder, "anna/house")
    api.create_repo.assert_not_called()


def test_what_the_hub_answers_is_one_line(tmp_path, api):
    folder = _policy(tmp_path / "model")
    error = huggingface_hub.errors.HFValidationError("Repo id must\n use alphanumeric chars")
    api.create_repo.side_effect = error
    with pytest.raises(RemoteError, match=r"the hub refused 'a/!': Repo id must use alphanumeric"):
        hub.push(folder, "a/!")
