from __future__ import annotations

import pytest
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from instructgpt.errors import DataError
from instructgpt.text.packing import pack_documents
from instructgpt.text.tokenizer import train_bpe

TEXTS = ["one cat sat", "两只猫", "", "three cats\n\nran and ran", "x"] * 3


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(TEXTS, 300)


def encoded(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def expected_stream(tokenizer, texts):
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    return [token for text in texts for token in [*encoded(tokenizer, text), end]]


@pytest.mark.parametrize("row_tokens", [2, 7, 16, 1000])
def test_rows_are_the_documents_one_after_the_other(tokenizer, row_tokens):
    rows = list(pack_documents(TEXTS, tokenizer, row_tokens))
    stream = expected_stream(tokenizer, TEXTS)
    packed = [token for row in rows for token in row]
    assert all(len(row) == row_tokens for row in rows[:-1])
    assert 2 <= len(rows[-1]) <= row_tokens
    # a lone last token, which nothing precedes, is the only thing that may be missing
    assert packed == (stream[:-1] if len(stream) % row_tokens == 1 else stream)


def test_a_lone_last_token_is_dropped(tokenizer):
    length = len(expected_stream(tokenizer, ["x", "x"]))
    assert length == 4
    assert [len(row) for row in pack_documents(["x", "x"], tokenizer, 3)] == [3]


def test_many_documents_from_an_iterator_pack_the_same(tokenizer):
    texts = [f"document {i}" for i in range(700)]
    rows = list(pack_documents(iter(texts), tokenizer, 64))
    assert [t for row in rows for t in row] == expected_stream(tokenizer, texts)
    assert rows == list(pack_documents(texts, tokenizer, 64))


def test_special_token_text_in_a_document_is_text(tokenizer):
    [row] = pack_documents(["a<|endoftext|>b<|user|>"], tokenizer, 1000)
    assert [t for t in row if t in tokenizer.all_special_ids] == [row[-1]]
    assert tokenizer.decode(row[:-1]) == "a<|endoftext|>b<|user|>"
    # and the tokenizer itself is left as it was
    assert len(encoded(tokenizer, "<|user|>")) == 1


def test_without_endoftext_the_separator_is_eos_and_bos_is_written(tokenizer):
    backend = tokenizer.backend_tokenizer.from_str(
        tokenizer.backend_tokenizer.to_str().replace("<|endoftext|>", "<s>")
    )
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", backend.token_to_id("<s>"))]
    )
    other = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="<|end|>")
    [row] = pack_documents(["x", "x"], other, 100)
    [x] = encoded(other, "x")
    assert row == [other.bos_token_id, x, other.eos_token_id] * 2


def test_no_text_and_a_row_of_one_token_are_refused(tokenizer):
    with pytest.raises(DataError, match="no text to pack"):
        list(pack_documents([], tokenizer, 8))
    with pytest.raises(ValueError, match="at least 2"):
        list(pack_documents(TEXTS, tokenizer, 1))
