"""A checkpoint that brings SentencePiece's own file, as Llama's and Mistral's do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sentencepiece

from instructgpt.data.records import Message
from instructgpt.text.chat_template import ChatRenderer
from instructgpt.text.tokenizer import load_tokenizer

CORPUS = [
    "The cat sat on the mat. Hello there, how are you?",
    "猫坐在垫子上。你好，请问什么是人工智能？",
] * 20


@pytest.mark.parametrize("algorithm", ["bpe", "unigram"])
def test_a_sentencepiece_model_is_fit_for_chat(algorithm: str, tmp_path: Path) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=330,
        model_type=algorithm,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    config = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.pad_token == "<unk>"  # an existing token that ends nothing
    renderer = ChatRenderer(tokenizer)
    question, answer = Message("user", "你好 cat"), Message("assistant", " Hello  猫 😀 </s>")
    ids, mask = renderer.dialogue_ids([question, answer])
    prompt = renderer.prompt_ids([question])
    assert ids[: len(prompt)] == prompt
    assert mask == [False] * len(prompt) + [True] * (len(ids) - len(prompt))
    assert [i for i in ids if i == tokenizer.eos_token_id] == ids[-1:]
    assert renderer.decode(ids) == "你好 cat\n\n Hello  猫 😀 </s>"
