"""What all requests share: the models, the limits, the counts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from instructgpt.serving.engine_loop import Arrivals
from instructgpt.serving.errors import engine_down, no_such_model
from instructgpt.serving.feedback import FeedbackLog
from instructgpt.serving.limits import Admission, Keys, Limits, RateLimiter
from instructgpt.serving.prometheus import Metrics
from instructgpt.serving.rewards import RewardScorer
from instructgpt.serving.served_model import ServedModel

if TYPE_CHECKING:
    from instructgpt.serving.loop_watch import LoopWatch


class Host:
    """The state of one server process; asyncio's thread owns it."""

    def __init__(
        self,
        models: Sequence[ServedModel],
        *,
        reward: RewardScorer | None = None,
        feedback: FeedbackLog | None = None,
        keys: Sequence[str] = (),
        limits: Limits,
        loop: LoopWatch | None = None,
    ) -> None:
        self.models = {model.name: model for model in models}
        self.leaving: list[ServedModel] = []  # they finish what they have begun
        self.loop = loop
        self.reward = reward
        self.feedback = feedback
        self.limits = limits
        self.keys = Keys(keys)
        self.rates = RateLimiter(limits.requests_per_minute)
        self.metrics = Metrics()
        self.admissions = {name: Admission(limits) for name in self.models}

    @property
    def loop_name(self) -> str | None:
        """What always means the promoted model, where a loop is served."""
        return None if self.loop is None else self.loop.state.name

    def model(self, name: str | None) -> ServedModel:
        """The model of this name, the first one for None and for a loop's own name.

        Errors: ApiError 404.
        """
        if name is None or name == self.loop_name:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise no_such_model(name, list(self.models))
        return self.models[name]

    def admission(self, model: ServedModel) -> Admission:
        """Who is being answered by a model. Errors: ApiError 503 when it has gone."""
        if model.name not in self.admissions:
            raise engine_down()
        return self.admissions[model.name]

    @property
    def healthy(self) -> bool:
        """Whether every model answers, and a loop is followed."""
        following = self.loop is None or self.loop.alive
        return following and all(m.loop is not None and m.loop.alive for m in self.models.values())

    def start(self) -> None:
        """Start the engines; their pieces arrive in the running event loop."""
        self._events = asyncio.get_running_loop()
        for model in self.models.values():
            model.start(self.hand_over)
        if self.loop is not None:
            self.loop.start(self)

    def stop(self) -> None:
        """Let the engines finish what runs."""
        for model in [*self.models.values(), *self.leaving]:
            if model.loop is not None:
                model.loop.stop()

    def offer(self, models: Sequence[ServedModel]) -> list[ServedModel]:
        """Serve these, which run, from now on. Those that go get nothing new; they are returned."""
        gone = [model for model in self.models.values() if model not in models]
        for model in models:
            self.admissions.setdefault(model.name, Admission(self.limits))
        self.leaving += gone
        self.models = {model.name: model for model in models}
        return gone

    async def dismiss(self, model: ServedModel) -> None:
        """End a model that left, once it has finished."""
        if model.loop is not None:
            await asyncio.to_thread(model.loop.stop)
        self.leaving.remove(model)
        # after a rollback another of its name may be here
        if model.name not in {*self.models, *(other.name for other in self.leaving)}:
            del self.admissions[model.name]

    def hand_over(self, arrivals: Arrivals) -> None:
        """From an engine's thread into asyncio's, once for all that a step has brought."""
        if not self._events.is_closed():
            self._events.call_soon_threadsafe(_deliver, arrivals)

    def gauges(self) -> Mapping[str, Mapping[str, float]]:
        """The numbers of the moment, for /metrics."""
        stats = {n: m.loop.stats for n, m in self.models.items() if m.loop is not None}
        admitted = self.admissions.items()
        return {
            "instructgpt_running_sequences": {n: a.running for n, a in admitted},
            "instructgpt_waiting_sequences": {n: a.waiting for n, a in admitted},
            "instructgpt_prompt_tokens_total": {n: s.prompt_tokens for n, s in stats.items()},
            "instructgpt_generated_tokens_total": {n: s.generated_tokens for n, s in stats.items()},
            "instructgpt_prefill_seconds_total": {n: s.prefill_seconds for n, s in stats.items()},
            "instructgpt_decode_seconds_total": {n: s.decode_seconds for n, s in stats.items()},
            "instructgpt_decode_rows_total": {n: s.decode_row_steps for n, s in stats.items()},
        }


def _deliver(arrivals: Arrivals) -> None:
    for generation, piece in arrivals:
        generation.arrive(piece)
