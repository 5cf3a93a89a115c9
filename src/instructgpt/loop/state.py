"""What follows from a loop's history: the model that is served, the open comparison, the rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from instructgpt.errors import RunDirError
from instructgpt.loop.history import HISTORY, Event, read_history

PHASES = ("started", "collected", "demonstrated", "trained", "opened")
"""What a round goes through before it ends; an event of each kind says that it is behind it."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the loop: the round that made it (0: the start) and its folder below the loop."""

    round: int
    path: str

    @property
    def name(self) -> str:
        """What clients and votes call it."""
        return f"round-{self.round}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A candidate beside the model that is served, and the rule of the decision."""

    candidate: Model
    against: Model
    decided_by: tuple[str, ...]
    alpha: float
    max_votes: int
    votes_per_user: int


@dataclass(slots=True)
class RoundState:
    """One round: its events by kind, the last of each."""

    number: int
    events: dict[str, Event] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether its candidate was promoted or dropped."""
        return "promoted" in self.events or "kept" in self.events

    @property
    def phase(self) -> str:
        """The last thing that happened in it."""
        order = (*PHASES, "kept", "promoted")
        return max(self.events, key=order.index)

    @property
    def candidate(self) -> Model | None:
        """The model that it made, once there is one."""
        trained = self.events.get("trained")
        return None if trained is None else Model(self.number, trained.facts["model"])


@dataclass(slots=True)
class LoopState:
    """`past`: every model that was promoted and not rolled back, the served one last."""

    name: str
    past: list[Model]
    rounds: dict[int, RoundState]
    comparison: Comparison | None

    @property
    def served(self) -> Model:
        """The model that is served now."""
        return self.past[-1]

    @property
    def model_names(self) -> dict[str, Model]:
        """What a server offers: the served model first, then an open comparison's candidate."""
        models = [self.served]
        if self.comparison is not None:
            models.append(self.comparison.candidate)
        return {model.name: model for model in models}


def is_loop(folder: Path) -> bool:
    """Whether a folder is a loop's."""
    return (folder / HISTORY).is_file()


def read_state(folder: Path) -> LoopState:
    """The state of the loop in `folder`. Errors: RunDirError when there is none."""
    events = read_history(folder)
    if not events:
        raise RunDirError(f"'{folder}' is no loop (no {HISTORY}); `instructgpt loop run` makes one")
    return state_of(events)


def state_of(events: Sequence[Event]) -> LoopState:
    """Fold the events, of which the first is `begun`."""
    begun = events[0]
    state = LoopState(begun.facts["name"], [Model(0, begun.facts["model"])], {}, None)
    for event in events[1:]:
        if event.kind == "rolled_back":
            state.past.pop()
            state.comparison = None  # it was against a model that is no longer served
            continue
        one = state.rounds.setdefault(event.round, RoundState(event.round))
        one.events[event.kind] = event
        if event.kind == "opened":
            state.comparison = _comparison(state, one, event.facts)
        elif event.kind in ("promoted", "kept"):
            state.comparison = None
            if event.kind == "promoted":
                assert one.candidate is not None  # nobody promotes what is not trained
                state.past.append(one.candidate)
    return state


def _comparison(state: LoopState, one: RoundState, facts: Mapping[str, Any]) -> Comparison:
    assert one.candidate is not None
    return Comparison(
        one.candidate,
        state.served,
        tuple(facts["decided_by"]),
        facts["alpha"],
        facts["max_votes"],
        facts["votes_per_user"],
    )
