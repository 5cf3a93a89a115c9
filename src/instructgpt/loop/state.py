"""What follows from a loop's history: the model that is served, the open comparison, the rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from instructgpt.errors import RunDirError
from instructgpt.loop.history import HISTORY, Event, read_history
from instructgpt.loop.places import ROUNDS, start_folder

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


def has_begun(folder: Path) -> bool:
    """Whether a folder holds a loop whose start is made."""
    return (folder / HISTORY).is_file()


def is_loop(folder: Path) -> bool:
    """Whether a folder is a loop's, also while its start is being made."""
    return has_begun(folder) or (start_folder(folder).is_dir() and (folder / ROUNDS).is_dir())


def read_state(folder: Path) -> LoopState:
    """The state of the loop in `folder`. Errors: RunDirError when there is none, or not yet;
    as `read_history` and `state_of`.
    """
    events = read_history(folder)
    if not events and is_loop(folder):
        raise RunDirError(
            f"the start of the loop in '{folder}' is not finished, so nothing is served yet; "
            "`instructgpt loop run` goes on with it"
        )
    if not events:
        raise RunDirError(f"'{folder}' is no loop (no {HISTORY}); `instructgpt loop run` makes one")
    return state_of(events)


def state_of(events: Sequence[Event]) -> LoopState:
    """Fold the events, of which there is one. Errors: RunDirError "file:line" for one that cannot
    follow those before it.
    """
    begun = events[0]
    _expect(begun.kind == "begun", begun, "the first row must be 'begun'; it is missing")
    state = LoopState(begun.facts["name"], [Model(0, begun.facts["model"])], {}, None)
    for event in events[1:]:
        _expect(event.kind != "begun", event, "the loop has begun before")
        if event.kind == "rolled_back":
            _expect(len(state.past) > 1, event, "nothing was served before")
            state.past.pop()
            state.comparison = None  # it was against a model that is no longer served
        else:
            _follow(state, event)
    return state


def _follow(state: LoopState, event: Event) -> None:
    """Add an event of a round."""
    if event.kind == "started":
        state.rounds.setdefault(event.round, RoundState(event.round))
    _expect(event.round in state.rounds, event, f"round {event.round} has not started")
    one = state.rounds[event.round]
    one.events[event.kind] = event
    if event.kind == "opened":
        state.comparison = _comparison(state, one, event)
    elif event.kind in ("promoted", "kept"):
        compared = None if state.comparison is None else state.comparison.candidate
        if compared is None or compared != one.candidate:
            raise _misplaced(event, f"nothing of round {event.round} is being compared")
        state.comparison = None
        if event.kind == "promoted":
            state.past.append(compared)


def _expect(right: bool, event: Event, otherwise: str) -> None:
    if not right:
        raise _misplaced(event, otherwise)


def _misplaced(event: Event, why: str) -> RunDirError:
    return RunDirError(f"{event.place}: '{event.kind}' cannot stand here: {why}")


def _comparison(state: LoopState, one: RoundState, event: Event) -> Comparison:
    if one.candidate is None:
        raise _misplaced(event, f"round {one.number} has no candidate")
    facts = event.facts
    return Comparison(
        one.candidate,
        state.served,
        tuple(facts["decided_by"]),
        facts["alpha"],
        facts["max_votes"],
        facts["votes_per_user"],
    )
