"""Pretraining documents as rows of equal length, without padding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from transformers import PreTrainedTokenizerBase

from instructgpt.errors import DataError
from instructgpt.text.encoding import TextEncoder, added_bos, document_separator

_DOCUMENTS_AT_ONCE = 256


def pack_documents(
    texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, row_tokens: int
) -> Iterator[list[int]]:
    """Rows of exactly `row_tokens` ids: documents in order, a separator after each, cut anywhere.

    The separator is <|endoftext|> where the tokenizer has it, else EOS; tokenizers that begin
    every text with BOS do so here. Special-token strings inside a document are ordinary text.
    What is left after the last full row becomes a shorter last row; a single token, which has
    nothing to be predicted from, is dropped. Errors: DataError when there is no text.
    """
    if row_tokens < 2:
        raise ValueError(f"row_tokens must be at least 2, not {row_tokens}")
    empty = True
    stream: list[int] = []
    for ids in _document_ids(texts, tokenizer):
        stream += ids
        full = len(stream) - len(stream) % row_tokens
        for start in range(0, full, row_tokens):
            yield stream[start : start + row_tokens]
        empty = empty and not full
        stream = stream[full:]
    if len(stream) > 1:
        yield stream
    elif empty:
        raise DataError("no text to pack into rows")


def _document_ids(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> Iterator[list[int]]:
    encoder = TextEncoder(tokenizer)
    bos = added_bos(tokenizer)
    before = [] if bos is None else [tokenizer.convert_tokens_to_ids(bos)]
    after = [tokenizer.convert_tokens_to_ids(document_separator(tokenizer))]
    remaining = iter(texts)
    while chunk := list(islice(remaining, _DOCUMENTS_AT_ONCE)):
        for ids in encoder.plain_batch(chunk):
            yield before + ids + after
