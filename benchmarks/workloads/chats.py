"""Many chats that stream at once, and whether each got exactly what it would get alone."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from instructgpt.config.pretrain import ModelShape
from instructgpt.models.create import create_causal_lm
from instructgpt.text.tokenizer import adapt_tokenizer, train_bpe

TOKENS = 64


def random_model(path: Path) -> str:
    """A model of 4 layers whose every token is text, so that answers differ where tokens do."""
    tokenizer = train_bpe(["Tell me about whales. What is a whale?"] * 9, 400)
    adapt_tokenizer(tokenizer, "compact")
    shape = ModelShape(layers=4, width=256, heads=4, context=2048)
    create_causal_lm(shape, tokenizer, seed=0).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


@dataclass
class Chat:
    """One conversation at a time: requests, answers, and seconds to the first piece of each."""

    number: int
    answers: int = 0
    messages: list[dict[str, str]] = field(default_factory=list)
    request: dict[str, Any] = field(default_factory=dict)
    answer: str = ""
    first_piece: list[float] = field(default_factory=list)

    def next_request(self) -> dict[str, Any]:
        """The next question with what went before; every request has a seed of its own."""
        if self.answers % 8 == 0:  # a new conversation, before the context is full
            self.messages = []
        question = f"Tell me about whales, part {self.number}.{self.answers}."
        self.messages = [*self.messages, {"role": "user", "content": question}]
        self.request = {
            "model": "model",
            "messages": self.messages,
            "max_tokens": TOKENS,
            "temperature": 0.7 + 0.1 * (self.number % 4),
            "seed": 1000 * self.number + self.answers,
            "ignore_eos": True,
        }
        return self.request

    def told(self, answer: str, waited: float) -> None:
        self.answer = answer
        self.answers += 1
        self.first_piece.append(waited)
        self.messages = [*self.messages, {"role": "assistant", "content": answer}]


async def talk(url: str, chats: Sequence[Chat], until: asyncio.Event, least: int) -> None:
    """Every chat asks on until `until`, at least `least` times; all stream at once."""

    async def run(chat: Chat) -> None:
        async with httpx2.AsyncClient(base_url=url, timeout=600) as http:
            while chat.answers < least or not until.is_set():
                chat.told(*await _stream(http, chat.next_request()))

    await asyncio.gather(*(run(chat) for chat in chats))


def lost_answers(url: str, chats: Sequence[Chat]) -> list[int]:
    """The chats whose last answer is another one when it is asked for alone, without streaming."""
    different = []
    with httpx2.Client(base_url=url, timeout=600) as http:
        for chat in chats:
            said = http.post("/v1/chat/completions", json=chat.request).raise_for_status().json()
            if said["choices"][0]["message"]["content"] != chat.answer:
                different.append(chat.number)
    return different


async def _stream(http: httpx2.AsyncClient, body: dict[str, Any]) -> tuple[str, float]:
    """(the whole answer, seconds to its first piece). A stream that breaks off raises."""
    began = time.perf_counter()
    pieces: list[str] = []
    waited = 0.0
    reason = None
    options = {"stream": True, "stream_options": {"include_usage": True}}
    async with http.stream("POST", "/v1/chat/completions", json={**body, **options}) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if not line.startswith("data: "):
                continue
            if line == "data: [DONE]":
                break
            event = json.loads(line.removeprefix("data: "))
            for choice in event["choices"]:
                piece = choice["delta"].get("content") or ""
                if piece and not waited:
                    waited = time.perf_counter() - began
                pieces.append(piece)
                reason = choice["finish_reason"] or reason
            if event.get("usage"):
                assert event["usage"]["completion_tokens"] == TOKENS, event
        else:
            raise RuntimeError("the stream ended before [DONE]")
    assert reason == "length", reason
    return "".join(pieces), waited
