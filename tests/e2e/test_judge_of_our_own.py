"""`instructgpt serve` as the endpoint of an AI judge: one program's labels from another's model."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from instructgpt.config.label import LabelConfig
from instructgpt.data.jsonl import write_jsonl
from instructgpt.data.records import Message, Prompt, Ranking
from instructgpt.labeling import label
from instructgpt.storage.run_dir import RunDir
from instructgpt.text.chat_template import ChatRenderer
from instructgpt.text.tokenizer import train_bpe

SAYS = "B > A"


def save_bigram_model(path: Path) -> None:
    """A model that looks at the last token only: after a turn's opening it says `SAYS` and ends."""
    tokenizer = train_bpe([SAYS] * 9, 270)
    renderer = ChatRenderer(tokenizer)
    opening = renderer.prompt_ids([Message("user", "x")])[-1]
    said = tokenizer.encode(SAYS, add_special_tokens=False)
    chain = [opening, *said, renderer.stop_ids[0]]
    assert len(set(chain)) == len(chain)
    size = -(-len(tokenizer) // 8) * 8
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(len(tokenizer), size))
        model.lm_head.weight.zero_()
        for token, following in pairwise(chain):
            model.lm_head.weight[following, token] = 1.0
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)


def test_a_model_that_we_serve_judges(tmp_path):
    """It always prefers the second of two: every pair ties, and the bias is on record."""
    save_bigram_model(tmp_path / "judge")
    (tmp_path / "key").write_text("the-key\n", "utf-8")
    rankings = [
        Ranking(Prompt.from_text("Name a fruit."), ("apple", "car"), (1, 2), "ann"),
        Ranking(Prompt.from_text("说一种水果。"), ("苹果", "汽车"), (1, 2), "ann"),
        Ranking(Prompt.from_text("Name three."), ("a", "b", "c"), (1, 2, 3), "ann"),
    ]
    write_jsonl(tmp_path / "people.jsonl", [r.to_dict() for r in rankings])
    serve = [sys.executable, "-m", "instructgpt", "serve", str(tmp_path / "judge"), "--port", "0"]
    with subprocess.Popen(
        [*serve, "--api-key-file", str(tmp_path / "key")],
        stdout=subprocess.PIPE, text=True, env=os.environ,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            url = re.search(r"at (http://\S+/v1),", process.stdout.readline())
            assert url
            judge = {"type": "ai", "base_url": url[1], "model": "judge", "price_in": 2.0}
            judge |= {"price_out": 8.0, "api_key_file": str(tmp_path / "key")}
            config = LabelConfig(
                people=str(tmp_path / "people.jsonl"), judges=(judge,), overlap=1.0
            )
            with RunDir.open(tmp_path / "label", "label", {}, 0, {}) as run:
                summary = label.run(config, run)
        finally:
            process.kill()
    (account,) = summary["judges"]
    assert (account["asked"], account["abstained"], account["questions"]) == (3, 1, 6)
    assert account["failures"] == {"not every letter once": 2}
    assert (account["order_consistency"]["value"], account["order_consistency"]["pairs"]) == (0, 2)
    assert account["first_shown_wins"]["value"] == 0.0
    assert account["tokens_out"] == 6 * 4, "three tokens and the end of the turn"
    assert account["tokens_in"] > 6 * 500
    cost = account["tokens_in"] * 2 / 1e6 + account["tokens_out"] * 8 / 1e6
    assert abs(account["cost"] - cost) < 1e-12
    (kinds,) = summary["agreement"]["kinds"]
    assert (kinds["pairs"], kinds["ties"]) == (0, 2), "ties agree with nobody and count nowhere"
