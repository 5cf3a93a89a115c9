"""Documents as rows of one length, for pretraining without padding."""

from __future__ import annotations

from collections.abc import Iterable

from transformers import PreTrainedTokenizerBase

from instructgpt.text.tokenizer import document_end_id


def pack_documents(
    texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, row_tokens: int
) -> list[list[int]]:
    """Token ids of all documents, one after the other with an end token each, cut into rows.

    Every row has `row_tokens` ids but the last, which holds the rest (and is left out when it is
    a single token, which predicts nothing). Deterministic; no token is lost otherwise.
    """
    end = document_end_id(tokenizer)
    stream: list[int] = []
    for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]:
        stream += ids
        stream.append(end)
    rows = [stream[i : i + row_tokens] for i in range(0, len(stream), row_tokens)]
    return [row for row in rows if len(row) > 1]
