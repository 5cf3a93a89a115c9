"""One request on its way through the engine: tokens come in, pieces of text come out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from instructgpt.rollout.live_batch import NewToken
from instructgpt.rollout.types import FinishReason, LogitChanges, SamplingParams, TokenLogprob
from instructgpt.text.streaming import Detokenizer, StopStrings

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True, slots=True)
class SaidToken:
    """A token of the answer, where its text begins, and what the model said of it."""

    token_id: int
    offset: int
    said: TokenLogprob


@dataclass(frozen=True, slots=True)
class Piece:
    """More text of one sample; the last piece of it has a finish reason.

    tokens: those since the piece before, when log-probs are wanted. completion_tokens: of the
    sample so far, its end token included.
    """

    sample: int
    text: str
    tokens: list[SaidToken]
    finish_reason: FinishReason | None
    completion_tokens: int


Inbox = asyncio.Queue[tuple[int, Piece] | None]


class Generation:
    """`n` answers to one prompt. The engine's thread calls `take`, everything else asyncio's.

    inbox: where pieces arrive, each with the number of its choice, counted from `first_choice`.
    stream: give out pieces as they come; otherwise one piece per sample, at its end.
    """

    def __init__(
        self,
        prompt_ids: Sequence[int],
        params: SamplingParams,
        decode: Decode,
        inbox: Inbox,
        *,
        first_choice: int = 0,
        key: int = 0,
        n: int = 1,
        stops: Sequence[str] = (),
        top: int | None = None,
        changes: LogitChanges | None = None,
        ignore_eos: bool = False,
        stream: bool = False,
    ) -> None:
        self.prompt_ids = prompt_ids
        self.params = params
        self.first_choice = first_choice
        self.key = key
        self.n = n
        self.top = top
        self.changes = changes
        self.ignore_eos = ignore_eos
        self.completion_tokens = 0
        self._writers = [_Writer(decode, stops, stream) for _ in range(n)]
        self._inbox = inbox

    @property
    def finished(self) -> bool:
        return all(writer.finish_reason is not None for writer in self._writers)

    def take(self, token: NewToken) -> Piece | None:
        """The piece that this token completes; it ends the sample at a stop string, too."""
        writer = self._writers[token.sample]
        writer.write(token)
        self.completion_tokens += 1
        return writer.piece(token.sample)

    def arrive(self, piece: Piece | None) -> None:
        """A piece has come; None when no more will, because the engine has failed."""
        self._inbox.put_nowait(None if piece is None else (self.first_choice + piece.sample, piece))


class _Writer:
    """The text of one sample."""

    def __init__(self, decode: Decode, stops: Sequence[str], stream: bool) -> None:
        self.finish_reason: FinishReason | None = None
        self._detokenizer = Detokenizer(decode)
        self._stops = StopStrings(stops)
        self._stream = stream
        self._pending: list[str] = []
        self._tokens: list[SaidToken] = []
        self._decoded = self._shown = self._count = 0  # characters, characters, tokens

    def write(self, token: NewToken) -> None:
        self._count += 1
        ended_by_itself = token.finish_reason == "stop"
        if token.model_logprob is not None and not ended_by_itself:
            self._tokens.append(SaidToken(token.token_id, self._decoded, token.model_logprob))
        text = self._detokenizer.push(token.token_id)
        if token.finish_reason is not None:
            text += self._detokenizer.rest()
        self._decoded += len(text)
        self._show(self._stops.push(text))
        if self._stops.found:
            self.finish_reason = "stop"
            # tokens whose text begins behind the end are no part of the answer
            self._tokens = [said for said in self._tokens if said.offset < self._shown]
        elif token.finish_reason is not None:
            self._show(self._stops.rest())
            self.finish_reason = token.finish_reason

    def piece(self, sample: int) -> Piece | None:
        if self.finish_reason is None and not (self._stream and self._pending):
            return None
        text, tokens = "".join(self._pending), self._tokens
        self._pending, self._tokens = [], []
        return Piece(sample, text, tokens, self.finish_reason, self._count)

    def _show(self, text: str) -> None:
        if text:
            self._pending.append(text)
            self._shown += len(text)
