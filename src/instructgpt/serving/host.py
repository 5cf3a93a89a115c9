"""What all requests share: the models, the limits, the counts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from instructgpt.serving.engine_loop import Arrivals
from instructgpt.serving.errors import no_such_model
from instructgpt.serving.feedback import FeedbackLog
from instructgpt.serving.limits import Admission, Keys, Limits, RateLimiter
from instructgpt.serving.prometheus import Metrics
from instructgpt.serving.rewards import RewardScorer
from instructgpt.serving.served_model import ServedModel


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
    ) -> None:
        self.models = {model.name: model for model in models}
        self.reward = reward
        self.feedback = feedback
        self.limits = limits
        self.keys = Keys(keys)
        self.rates = RateLimiter(limits.requests_per_minute)
        self.metrics = Metrics()
        self.admissions = {name: Admission(limits) for name in self.models}

    def model(self, name: str | None) -> ServedModel:
        """The model of this name, the first one for None. Errors: ApiError 404."""
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise no_such_model(name, list(self.models))
        return self.models[name]

    @property
    def healthy(self) -> bool:
        """Whether every model answers."""
        return all(m.loop is not None and m.loop.alive for m in self.models.values())

    def start(self) -> None:
        """Start the engines; their pieces arrive in the running event loop."""
        events = asyncio.get_running_loop()
        for model in self.models.values():
            model.start(lambda arrivals: _hand_over(events, arrivals))

    def stop(self) -> None:
        """Let the engines finish what runs."""
        for model in self.models.values():
            if model.loop is not None:
                model.loop.stop()

    def gauges(self) -> Mapping[str, Mapping[str, float]]:
        """The numbers of the moment, for /metrics."""
        stats = {n: m.loop.stats for n, m in self.models.items() if m.loop is not None}
        admitted = self.admissions.items()
        return {
            "instructgpt_running_sequences": {n: a.running for n, a in admitted},
            "instructgpt_waiting_sequences": {n: a.waiting for n, a in admitted},
            "instructgpt_prompt_tokens_total": {n: s.prompt_tokens for n, s in stats.items()},
            "instructgpt_generated_tokens_total": {n: s.generated_tokens for n, s in stats.items()},
        }


def _hand_over(events: asyncio.AbstractEventLoop, arrivals: Arrivals) -> None:
    """From the engine's thread into asyncio's, once for all that a step has brought."""
    if not events.is_closed():
        events.call_soon_threadsafe(_deliver, arrivals)


def _deliver(arrivals: Arrivals) -> None:
    for generation, piece in arrivals:
        generation.arrive(piece)
