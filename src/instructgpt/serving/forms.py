"""How the two generating endpoints write text, log-probs and finish reasons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from instructgpt.serving.answering import Form
from instructgpt.serving.generation import Piece, SaidToken
from instructgpt.serving.served_model import ServedModel
from instructgpt.text.streaming import REPLACEMENT

_LOWEST = -9999.0  # what clients know for "impossible"; JSON has no minus infinity


class ChatForm(Form):
    """Messages, as of /v1/chat/completions."""

    whole = "chat.completion"
    chunk = "chat.completion.chunk"
    prefix = "chatcmpl"

    def __init__(self, model: ServedModel, logprobs: bool) -> None:
        self._model = model
        self._logprobs = logprobs

    def opening(self, index: int) -> dict[str, Any]:
        delta = {"role": "assistant", "content": ""}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    def deltas(self, index: int, piece: Piece) -> list[dict[str, Any]]:
        said = self._said(piece)
        choices: list[dict[str, Any]] = []
        if piece.text or (said and said["content"]):
            delta = {"content": piece.text}
            choices.append({"index": index, "delta": delta, "logprobs": said})
            choices[-1]["finish_reason"] = None
        if piece.finish_reason is not None:
            end = {"index": index, "delta": {}, "logprobs": None}
            choices.append({**end, "finish_reason": piece.finish_reason})
        return choices

    def choice(self, index: int, piece: Piece) -> dict[str, Any]:
        return {
            "index": index,
            "message": {"role": "assistant", "content": piece.text, "refusal": None},
            "logprobs": self._said(piece),
            "finish_reason": piece.finish_reason,
        }

    def _said(self, piece: Piece) -> dict[str, Any] | None:
        if not self._logprobs:
            return None
        return {"content": [self._entry(token) for token in piece.tokens], "refusal": None}

    def _entry(self, token: SaidToken) -> dict[str, Any]:
        top = [self._token(token_id, logprob) for token_id, logprob in token.said.top]
        return {**self._token(token.token_id, token.said.logprob), "top_logprobs": top}

    def _token(self, token_id: int, logprob: float) -> dict[str, Any]:
        text = self._model.token_text(token_id)
        # part of a character has no text, and then its bytes cannot be told from the text
        encoded = None if REPLACEMENT in text else list(text.encode())
        return {"token": text, "logprob": max(logprob, _LOWEST), "bytes": encoded}


class CompletionForm(Form):
    """Bare text, as of /v1/completions. echo: the prompts' texts to begin with, in their order."""

    whole = chunk = "text_completion"
    prefix = "cmpl"

    def __init__(self, model: ServedModel, logprobs: bool, echo: Sequence[str] | None) -> None:
        self._model = model
        self._logprobs = logprobs
        self._echo = echo

    def opening(self, index: int) -> dict[str, Any] | None:
        text = self._echoed(index)
        return (
            {"index": index, "text": text, "logprobs": None, "finish_reason": None}
            if text
            else None
        )

    def deltas(self, index: int, piece: Piece) -> list[dict[str, Any]]:
        return [self._choice(index, piece, "")]

    def choice(self, index: int, piece: Piece) -> dict[str, Any]:
        return self._choice(index, piece, self._echoed(index))

    def _choice(self, index: int, piece: Piece, before: str) -> dict[str, Any]:
        return {
            "index": index,
            "text": before + piece.text,
            "logprobs": self._said(piece, len(self._echoed(index))) if self._logprobs else None,
            "finish_reason": piece.finish_reason,
        }

    def _echoed(self, index: int) -> str:
        return self._echo[index] if self._echo is not None else ""

    def _said(self, piece: Piece, offset: int) -> dict[str, Any]:
        text = self._model.token_text
        tokens = piece.tokens
        return {
            "tokens": [text(token.token_id) for token in tokens],
            "token_logprobs": [max(token.said.logprob, _LOWEST) for token in tokens],
            "top_logprobs": [
                {text(token_id): max(logprob, _LOWEST) for token_id, logprob in token.said.top}
                for token in tokens
            ],
            "text_offset": [offset + token.offset for token in tokens],
        }
