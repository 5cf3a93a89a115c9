"""`instructgpt serve` as a program."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import openai
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from instructgpt.text.tokenizer import train_bpe


@pytest.fixture
def checkpoint(tmp_path):
    tokenizer = train_bpe(["Hello there"], 270)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=2048,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_it_serves_until_told_to_stop_and_finishes_what_runs(checkpoint, tmp_path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("secret-key\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "instructgpt", "serve", str(checkpoint), "--port", "0",
         "--api-key-file", str(keys)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        url = re.search(r"serving tiny at (http://127\.0\.0\.1:\d+/v1), ", line)
        assert url, line + process.stderr.read()
        client = openai.OpenAI(base_url=url[1], api_key="secret-key", max_retries=0)
        stream = client.chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": "Hello"}],
            stream=True,
            max_tokens=300,
            extra_body={"ignore_eos": True},
        )
        next(stream)
        process.send_signal(signal.SIGINT)
        assert list(stream)[-1].choices[0].finish_reason == "length"
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, err
    assert "secret-key" not in line + out + err


def test_a_mistake_is_one_line(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "instructgpt", "serve", str(tmp_path / "nothing"), "--port", "0"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: no model at")
    assert done.stderr.count("\n") == 1
