"""A language model as a judge: it is asked, its reply is read or rejected, and the cost counted."""

from __future__ import annotations

import os
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from instructgpt.config.judges import AIJudgeConfig
from instructgpt.data.records import Prompt
from instructgpt.errors import ConfigError, RemoteError
from instructgpt.judging.comparison import Unreadable, comparison, language_of, read_ranking
from instructgpt.judging.endpoint import Endpoint, Refused, Stopped, chat_url, require_extra
from instructgpt.judging.protocol import Judge, Look, Ranks
from instructgpt.judging.scores import ranks_of_scores
from instructgpt.storage.fingerprint import fingerprint_json
from instructgpt.storage.judge_calls import JudgeCalls, PaidReply

# Refused so often without a single reply: it is the endpoint, not the question.
_PATIENCE = 10


class _Question(NamedTuple):
    """One request about a user's prompt, and the places of the completions that it shows."""

    places: tuple[int, ...]
    body: dict[str, Any]
    fingerprint: str
    user: str | None


class AIJudge(Judge):
    """Any model behind an OpenAI-compatible endpoint; what it was paid for is kept in `calls`.

    A look with a question whose reply is no ranking gets None. Errors: ConfigError for a key or a
    rubric that is not there, RemoteError when the endpoint fails for good.
    """

    kind: ClassVar[str] = "ai"
    order_matters: ClassVar[bool] = True

    def __init__(self, config: AIJudgeConfig, calls: JudgeCalls) -> None:
        self.name = config.name or config.model
        self.config = config
        self._calls = calls
        self._rubric = None if config.rubric is None else _text(config.rubric, "rubric")
        require_extra()
        self._key = _key(config)
        self._url = chat_url(config.base_url)
        self._replies: dict[str, PaidReply] = {}
        self._failures: dict[str, str] = {}

    def rank(self, prompt: Prompt, completions: Sequence[str]) -> Ranks | None:
        """One look."""
        ((_, ranks),) = self.rank_all([Look(prompt, tuple(completions))])
        return ranks

    def rank_all(self, looks: Sequence[Look]) -> Iterator[tuple[int, Ranks | None]]:
        """`concurrency` requests at a time; a request that was made before is not made again."""
        questions = [self._questions(look) for look in looks]
        wanted = {q.fingerprint: q for own in questions for q in own}
        waiting: dict[str, list[int]] = defaultdict(list)
        missing = [len({q.fingerprint for q in own}) for own in questions]
        for index, own in enumerate(questions):
            for fingerprint in {q.fingerprint for q in own}:
                waiting[fingerprint].append(index)
        for fingerprint in self._answer(wanted):
            for index in waiting[fingerprint]:
                missing[index] -= 1
                if not missing[index]:
                    yield index, self._verdict(questions[index], len(looks[index].completions))

    def account(self) -> dict[str, Any]:
        """Questions, why some gave no ranking, tokens, and cost where prices are known."""
        replies = self._replies.values()
        known = all(r.tokens_in is not None and r.tokens_out is not None for r in replies)
        tokens_in = sum(r.tokens_in or 0 for r in replies)
        tokens_out = sum(r.tokens_out or 0 for r in replies)
        cost = None
        if known and self.config.price_in is not None and self.config.price_out is not None:
            cost = (tokens_in * self.config.price_in + tokens_out * self.config.price_out) / 1e6
        return {
            "model": self.config.model,
            "questions": len(self._replies) + sum(v == "refused" for v in self._failures.values()),
            "failures": dict(sorted(Counter(self._failures.values()).items())),
            "tokens_in": tokens_in if known else None,
            "tokens_out": tokens_out if known else None,
            "cost": cost,
        }

    def _questions(self, look: Look) -> list[_Question]:
        places = range(len(look.completions))
        shown = [tuple(places)] if self.config.compare == "list" else list(combinations(places, 2))
        return [self._question(look, own) for own in shown]

    def _question(self, look: Look, places: tuple[int, ...]) -> _Question:
        language = self.config.language
        text = comparison(
            look.prompt,
            [look.completions[i] for i in places],
            language_of(look.prompt) if language == "auto" else language,
            self._rubric,
        )
        messages = [{"role": "user", "content": text}]
        body = {"model": self.config.model, "messages": messages, **self.config.request}
        return _Question(places, body, fingerprint_json([self._url, body]), look.prompt.user)

    def _answer(self, wanted: Mapping[str, _Question]) -> Iterator[str]:
        """Fingerprints whose reply is there or has failed: paid ones first, then as they come."""
        for fingerprint in wanted:
            reply = self._replies.get(fingerprint) or self._calls.find(fingerprint)
            if reply is not None:
                self._replies[fingerprint] = reply
        known = [f for f in wanted if f in self._replies]
        yield from known
        refused = 0
        with self._endpoint() as endpoint, _workers(self.config.concurrency) as (pool, stop):
            asked = {
                pool.submit(self._ask, endpoint, question, stop): fingerprint
                for fingerprint, question in wanted.items()
                if fingerprint not in self._replies
            }
            for future in as_completed(asked):
                fingerprint = asked[future]
                try:
                    self._replies[fingerprint] = future.result()
                except Refused as error:
                    refused += 1
                    self._failures[fingerprint] = "refused"
                    if refused >= _PATIENCE and not self._replies:
                        raise RemoteError(f"{self._url}: {error}") from error
                yield fingerprint

    def _endpoint(self) -> Endpoint:
        config = self.config
        return Endpoint(
            config.base_url,
            self._key,
            timeout=config.timeout,
            attempts=config.attempts,
            connections=config.concurrency,
            proxy=config.proxy,
        )

    def _ask(self, endpoint: Endpoint, question: _Question, stop: threading.Event) -> PaidReply:
        if stop.is_set():
            raise Stopped
        reply = endpoint.ask(question.body, stop.wait)
        paid = PaidReply(reply.text, reply.tokens_in, reply.tokens_out)
        self._calls.add(question.fingerprint, question.body, paid, question.user)
        return paid

    def _verdict(self, questions: Sequence[_Question], k: int) -> Ranks | None:
        """The look's ranks: of the one list, or by how many pairs each completion wins."""
        read = [self._read(q) for q in questions]
        ranked = [ranks for ranks in read if ranks is not None]
        if len(ranked) < len(questions):
            return None
        if self.config.compare == "list":
            return ranked[0]
        points = [0.0] * k
        for question, (first, second) in zip(questions, ranked, strict=True):
            a, b = question.places
            points[a] += 0.5 * ((first < second) - (first > second))
            points[b] += 0.5 * ((second < first) - (second > first))
        return ranks_of_scores(points)

    def _read(self, question: _Question) -> tuple[int, ...] | None:
        reply = self._replies.get(question.fingerprint)
        if reply is None:
            return None
        try:
            return read_ranking(reply.text, len(question.places))
        except Unreadable as error:
            self._failures[question.fingerprint] = str(error)
            return None


@contextmanager
def _workers(count: int) -> Iterator[tuple[ThreadPoolExecutor, threading.Event]]:
    """Threads; whatever ends the block, what waits is dropped and what is under way finishes."""
    stop = threading.Event()
    with ThreadPoolExecutor(count) as pool:
        try:
            yield pool, stop
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _key(config: AIJudgeConfig) -> str | None:
    if config.api_key_file is not None:
        key = _text(config.api_key_file, "api_key_file").strip()
        source = f"api_key_file '{config.api_key_file}'"
    elif config.api_key_env is not None:
        key = os.environ.get(config.api_key_env, "").strip()
        source = f"the environment variable {config.api_key_env}"
    else:
        return None
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigError(f"judge '{config.name or config.model}': {source} holds no API key")
    return key


def _text(path: str, what: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the {what} '{path}': {error}") from error
