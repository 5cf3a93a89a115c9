from __future__ import annotations

import pytest
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from instructgpt.errors import DataError
from instructgpt.text.rows import text_rows
from instructgpt.text.tokenizer import train_bpe

TEXTS = ["one cat sat", "两只猫", "", "three cats\n\nran and ran", "x"] * 3


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(TEXTS, 300)


def encoded(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("row_tokens", [2, 7, 16, 1000])
def test_a_row_is_a_document_or_a_piece_of_a_longer_one(tokenizer, row_tokens):
    rows = iter(text_rows(TEXTS, tokenizer, row_tokens))
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    for text in TEXTS:
        left = [*encoded(tokenizer, text), end]
        while len(left) > 1:  # a token alone is dropped: nothing precedes it
            row = next(rows)
            assert row == left[: len(row)]
            assert len(row) == min(row_tokens, len(left))
            left = left[len(row) :]
    assert list(rows) == []


def test_more_documents_than_are_encoded_at_once(tokenizer):
    texts = [f"document {i}" for i in range(700)]
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    expected = [[*encoded(tokenizer, text), end] for text in texts]
    assert list(text_rows(iter(texts), tokenizer, 64)) == expected


def test_special_token_text_in_a_document_is_text(tokenizer):
    [row] = text_rows(["a<|endoftext|>b<|user|>"], tokenizer, 1000)
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
    [x] = encoded(other, "x")
    expected = [[other.bos_token_id, x, other.eos_token_id]]
    assert list(text_rows(["x"], other, 100)) == expected


def test_no_text_and_a_row_of_one_token_are_refused(tokenizer):
    with pytest.raises(DataError, match="no text to train on"):
        list(text_rows(["", ""], tokenizer, 8))
    with pytest.raises(ValueError, match="at least 2"):
        list(text_rows(TEXTS, tokenizer, 1))
