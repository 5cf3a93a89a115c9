"""Simulated users of the small world: they ask what is served, give thumbs, and vote blind.

They say what they say through the same log as the chat page, with its consent, screening and caps.
Every visit is a function of the loop's seed: started again, they repeat nothing and add what is
missing. They judge as simulated labelers do, each with tastes and mistakes of their own; the gold
score itself is hidden from them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from instructgpt.data.readers import load_prompts
from instructgpt.data.records import Prompt
from instructgpt.errors import ConfigError
from instructgpt.loop.feedback import read_prompts, read_thumbs, read_votes
from instructgpt.loop.places import FEEDBACK
from instructgpt.loop.state import Comparison
from instructgpt.loop.votes import is_between
from instructgpt.microworld.gold import Gold
from instructgpt.microworld.labelers import SimulatedLabeler, hire_labelers
from instructgpt.microworld.world import World
from instructgpt.pipeline.loop.answers import Answerer
from instructgpt.pipeline.loop.work import Work
from instructgpt.progress import progress
from instructgpt.serving.feedback import FeedbackLog, FeedbackRequest

_TOGETHER = 64  # visits at once
_PATIENCE = 50  # visits per wanted prompt before giving up
_GOOD = 5  # Likert 1-7 from which a thumb goes up


@dataclass(frozen=True, slots=True)
class Visit:
    """A user with a prompt; `key` tells its draws from those of other visits."""

    key: int
    user: str
    labeler: SimulatedLabeler
    consents: bool
    prompt: Prompt

    @property
    def who(self) -> tuple[str, str]:
        """The user and the prompt, as the log tells visits apart."""
        return self.user, self.prompt.key


Done = set[tuple[str, str]]


class SimulatedUsers:
    """The users of a loop, during one of its rounds."""

    def __init__(self, work: Work) -> None:
        config = work.config.users
        assert config is not None  # who asks for them has looked
        self._work, self._config = work, config
        self._seed = f"{work.config.seed}:users:{work.number}"
        self._prompts = load_prompts(work.path(config.prompts)).records
        gold = Gold(World.read(work.world))
        self._labelers = hire_labelers(gold, config.count, work.config.seed)
        consent = random.Random(f"{work.config.seed}:consent")
        self._consents = [consent.random() < config.consent for _ in self._labelers]
        self._folder = work.root / FEEDBACK
        self._log = FeedbackLog(self._folder)

    def ask(self, enough: Callable[[], bool]) -> None:
        """Visit the served model until the log has enough."""
        served = self._work.state.served
        answer = self._answerer(self._work.places.served, "served")
        visits = self._visits("ask")
        limit = _PATIENCE * self._work.config.prompts.wanted
        with progress("users ask", None, unit="prompt") as bar:
            for chunk in _chunks(visits, limit):
                asked, rated = self._asked(), self._rated()
                # a chunk that was begun is ended, so that a kill leaves no trace
                if not any(visit.who in asked | rated for visit in chunk) and enough():
                    return
                if any(visit.consents and visit.who not in asked & rated for visit in chunk):
                    self._ask_together(chunk, answer, served.name, asked, rated)
                bar.advance(len(chunk))
        raise ConfigError(
            f"users.prompts: in {limit} visits simulated users asked too little that is new; give "
            "them more prompts, or lower prompts.wanted"
        )

    def vote(self, comparison: Comparison, decided: Callable[[], bool]) -> None:
        """Visit while two models answer, and prefer one without knowing whose it is, until it is
        decided or nobody is left who may vote.
        """
        models = (comparison.candidate, comparison.against)
        answers = [self._answerer(self._work.root / m.path, m.name) for m in models]
        names = [model.name for model in models]
        with progress("users vote", None, unit="vote") as bar:
            for chunk in _chunks(self._turns(comparison.votes_per_user), None):
                voted = self._voted(names)
                if not any(visit.who in voted for visit in chunk) and decided():
                    return
                if any(visit.consents and visit.who not in voted for visit in chunk):
                    self._vote_together(chunk, answers, names, voted)
                bar.advance(len(chunk))

    def _ask_together(
        self, chunk: Sequence[Visit], answer: Answerer, name: str, asked: Done, rated: Done
    ) -> None:
        # all of the chunk are answered, whoever is missing: company may move a rounding
        texts = _answered(chunk, answer)
        for visit in chunk:
            if not visit.consents or visit.key not in texts:
                continue
            text = texts[visit.key]
            if visit.who not in asked:
                self._say(visit)
            if visit.who not in rated:
                good = visit.labeler.rate(visit.prompt, text).likert >= _GOOD
                self._say(visit, completions=[text], models=[name], good=good)

    def _vote_together(
        self, chunk: Sequence[Visit], answers: Sequence[Answerer], names: Sequence[str], voted: Done
    ) -> None:
        texts = [_answered(chunk, answer) for answer in answers]
        for visit in chunk:
            if (
                not visit.consents
                or visit.who in voted
                or visit.key not in texts[0].keys() & texts[1]
            ):
                continue
            shown = [0, 1]
            random.Random(f"{self._seed}:sides:{visit.key}").shuffle(shown)
            completions = [texts[side][visit.key] for side in shown]
            ranks = visit.labeler.rank(visit.prompt, completions)
            models = [names[side] for side in shown]
            self._say(visit, completions=completions, models=models, ranks=list(ranks))

    def _say(self, visit: Visit, **what: object) -> None:
        messages = [message.to_dict() for message in visit.prompt.messages]
        said = {"user": visit.user, "consent": True, "prompt": messages, **what}
        self._log.record(FeedbackRequest.model_validate(said))

    def _visits(self, purpose: str) -> Iterator[Visit]:
        """Users at random, who may come again."""
        rng = random.Random(f"{self._seed}:{purpose}")
        key = 0
        while True:
            yield self._visit(key, rng.randrange(len(self._labelers)), rng)
            key += 1

    def _turns(self, times: int) -> Iterator[Visit]:
        """Every user `times` times, in an order of this round."""
        rng = random.Random(f"{self._seed}:vote")
        for turn in range(times):
            order = rng.sample(range(len(self._labelers)), len(self._labelers))
            for place, number in enumerate(order):
                yield self._visit(turn * len(order) + place, number, rng)

    def _visit(self, key: int, number: int, rng: random.Random) -> Visit:
        labeler, consents = self._labelers[number], self._consents[number]
        user = f"simulated-user-{number + 1:04d}"
        return Visit(key, user, labeler, consents, rng.choice(self._prompts))

    def _asked(self) -> Done:
        return _done(prompt for _, prompt in read_prompts(self._folder))

    def _rated(self) -> Done:
        return _done(thumb.prompt for thumb in read_thumbs(self._folder))

    def _voted(self, models: Sequence[str]) -> Done:
        """Between these models."""
        votes = read_votes(self._folder)
        return _done(vote.prompt for vote in votes if is_between(vote, models))

    def _answerer(self, model: Path, name: str) -> Answerer:
        seed = random.Random(f"{self._seed}:answers:{name}").randrange(2**31)
        return Answerer(model, self._config.sampling, self._work.config.hardware, seed)


def _done(prompts: Iterable[Prompt]) -> Done:
    """Whose prompts are in the log already."""
    return {(prompt.user or "", prompt.key) for prompt in prompts}


def _answered(chunk: Sequence[Visit], answer: Answerer) -> dict[int, str]:
    """Key of the visit -> what it was answered; without prompts that are too long."""
    texts = answer([visit.prompt for visit in chunk], [visit.key for visit in chunk])
    return {v.key: text for v, text in zip(chunk, texts, strict=True) if text is not None}


def _chunks(visits: Iterator[Visit], limit: int | None) -> Iterator[list[Visit]]:
    rest = islice(visits, limit)
    while chunk := list(islice(rest, _TOGETHER)):
        yield chunk
