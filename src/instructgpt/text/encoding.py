"""Text to token ids in pieces: what a template writes, and what a person wrote.

In a template's text the special tokens are control tokens. In a person's text "<|end|>" is seven
characters like any others: it must not end a turn, whoever typed it.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from functools import cached_property, lru_cache

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

DOCUMENT_SEPARATOR = "<|endoftext|>"
_ANCHOR = "\n"
_PIECES_REMEMBERED = 1024


class TextEncoder:
    """Encodes pieces of one text with an adapted tokenizer (`adapt_tokenizer`).

    Special tokens are those that the tokenizer marks as special (EOS, turn markers, ...); added
    tokens that are ordinary text, such as <think>, are encoded as the tokenizer likes.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._backend: Tokenizer = tokenizer.backend_tokenizer
        self.special_texts = special_texts(tokenizer)
        self._special = re.compile("|".join(map(re.escape, self.special_texts)) or r"(?!)")
        self._special_starts = frozenset(text[0] for text in self.special_texts)
        # The K completions of a prompt follow each other: their prompt is encoded once.
        self._markup = lru_cache(_PIECES_REMEMBERED)(self._encode_markup)
        # Llama's older tokenizers put a space before a text, but not before its later pieces.
        self._prefixes_space = self._markup("a") != self._markup(tokenizer.eos_token + "a")[1:]

    def markup(self, text: str, *, first: bool = False) -> list[int]:
        """Ids of template text, in which special tokens count; `first` piece of a text or later."""
        if self._prefixes_space and not first:
            return list(self._markup(self.tokenizer.eos_token + text)[1:])
        return list(self._markup(text))

    def plain(self, text: str, *, first: bool = False) -> list[int]:
        """Ids of a person's text: strings that look like special tokens are ordinary text."""
        if self._prefixes_space and not first:
            anchor = self._plain_backend.encode(_ANCHOR, add_special_tokens=False).ids
            ids: list[int] = self._plain_backend.encode(
                _ANCHOR + text, add_special_tokens=False
            ).ids
            return ids[len(anchor) :] if ids[: len(anchor)] == anchor else self._plain(text)
        return self._plain(text)

    def plain_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`plain(text, first=True)` of many texts, in parallel where the machine allows."""
        found = self._plain_backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [one.ids for one in found]

    def find_special(self, text: str) -> re.Pattern[str] | None:
        """The pattern of special tokens if `text` holds any of them, else None."""
        if self._special_starts.isdisjoint(text) or not self._special.search(text):
            return None
        return self._special

    def special_at_start(self, text: str) -> str | None:
        """The special token that `text` begins with after white space, if it does."""
        match = self._special.match(text.lstrip())
        return match.group() if match else None

    def _encode_markup(self, text: str) -> tuple[int, ...]:
        backend = self._backend
        if backend.encode_special_tokens or backend.truncation or backend.padding:
            # left behind by somebody's earlier call of the tokenizer
            backend.encode_special_tokens = False
            backend.no_truncation()
            backend.no_padding()
        return tuple(backend.encode(text, add_special_tokens=False).ids)

    def _plain(self, text: str) -> list[int]:
        ids: list[int] = self._plain_backend.encode(text, add_special_tokens=False).ids
        return ids

    @cached_property
    def _plain_backend(self) -> Tokenizer:
        backend = copy.deepcopy(self._backend)
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        return backend


def special_texts(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Every special token's text, longer ones first."""
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    texts = (added | set(tokenizer.all_special_tokens)) - {""}
    return sorted(texts, key=lambda text: (-len(text), text))


def document_separator(tokenizer: PreTrainedTokenizerBase) -> str:
    """What ends a pretraining document: <|endoftext|> where the tokenizer has it, else EOS."""
    texts = special_texts(tokenizer)
    return DOCUMENT_SEPARATOR if DOCUMENT_SEPARATOR in texts else str(tokenizer.eos_token)


def added_bos(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The BOS that the tokenizer puts before every text of its own accord, if it does."""
    starts = tokenizer.encode("a", add_special_tokens=True)[:1]
    return tokenizer.bos_token if starts == [tokenizer.bos_token_id] else None
