"""Pretraining documents as rows of token ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from transformers import PreTrainedTokenizerBase

from instructgpt.errors import DataError
from instructgpt.text.encoding import TextEncoder, added_bos, document_separator

_DOCUMENTS_AT_ONCE = 256


def text_rows(
    texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, row_tokens: int
) -> Iterator[list[int]]:
    """Every document is a row; one of more than `row_tokens` ids is cut into several.

    Rows hold no second document, because attention would see it: where models have to copy, the
    last place that looks alike should be the right one (docs/LOG.md, 2026-11-25). A separator ends
    each document: <|endoftext|> where the tokenizer has it, else EOS. Tokenizers that begin every
    text with BOS do so here. Special-token strings inside a document are ordinary text. A row of a
    single token, which has nothing to be predicted from, is dropped.
    Errors: DataError when there is no text.
    """
    if row_tokens < 2:
        raise ValueError(f"row_tokens must be at least 2, not {row_tokens}")
    empty = True
    for ids in _document_ids(texts, tokenizer):
        for start in range(0, len(ids) - 1, row_tokens):
            empty = False
            yield ids[start : start + row_tokens]
    if empty:
        raise DataError("no text to train on")


def _document_ids(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> Iterator[list[int]]:
    encoder = TextEncoder(tokenizer)
    bos = added_bos(tokenizer)
    before = [] if bos is None else [tokenizer.convert_tokens_to_ids(bos)]
    after = [tokenizer.convert_tokens_to_ids(document_separator(tokenizer))]
    remaining = iter(texts)
    while chunk := list(islice(remaining, _DOCUMENTS_AT_ONCE)):
        for ids in encoder.plain_batch(chunk):
            yield before + ids + after
