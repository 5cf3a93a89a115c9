"""A checkpoint that brings SentencePiece's own file, as Llama's and Mistral's do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from instructgpt.data.records import Message
from instructgpt.errors import CheckpointError
from instructgpt.text.chat_template import ChatRenderer
from instructgpt.text.tokenizer import load_tokenizer

CORPUS = [
    "The cat sat on the mat. Hello there, how are you?",
    "猫坐在垫子上。你好，请问什么是人工智能？",
] * 20


def write_tokenizer(folder: Path, name: str, tokenizer_class: str, **settings: Any) -> Path:
    """A checkpoint's tokenizer files, of a model trained on CORPUS."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_prefix=str(folder / name),
        hard_vocab_limit=False,
        minloglevel=2,
        **settings,
    )
    config = {"tokenizer_class": tokenizer_class, "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.mark.parametrize("algorithm", ["bpe", "unigram"])
def test_a_sentencepiece_model_is_fit_for_chat(
    algorithm: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tokenizer(
        tmp_path, "tokenizer", "LlamaTokenizer",
        vocab_size=330, model_type=algorithm, byte_fallback=True,
    )  # fmt: skip
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
    assert "line breaks" not in caplog.text


@pytest.fixture
def t5(tmp_path: Path) -> Path:
    """T5's settings: no bytes to fall back on, all white space becomes one space."""
    return write_tokenizer(
        tmp_path, "spiece", "T5Tokenizer",
        vocab_size=120, model_type="unigram", normalization_rule_name="nmt_nfkc",
    )  # fmt: skip


def test_without_line_breaks_the_plain_template_is_refused(t5: Path) -> None:
    """Prompt and answer ran into each other: the blank line between them was not there."""
    line = r"drops line breaks, .* in chat template 'plain'; set chat_template: compact"
    with pytest.raises(CheckpointError, match=line):
        load_tokenizer(t5)


def test_without_line_breaks_other_templates_are_warned_of(
    t5: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer = load_tokenizer(t5, "compact")
    assert tokenizer.decode(tokenizer.encode("cat\nmat", add_special_tokens=False)) == "cat mat"
    (record,) = caplog.records
    assert record.getMessage().startswith(f"the tokenizer of '{t5}' drops line breaks: prompts")
    renderer = ChatRenderer(tokenizer)
    dialogue = [Message("user", "the cat"), Message("assistant", "the mat")]
    ids, mask = renderer.dialogue_ids(dialogue)
    assert ids[: len(ids) - sum(mask)] == renderer.prompt_ids(dialogue[:1])
