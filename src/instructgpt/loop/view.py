"""A loop as people see it, in JSON values: for the page, the command line and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from instructgpt.judging.intervals import Interval, wilson_interval
from instructgpt.loop.feedback import read_thumbs
from instructgpt.loop.history import read_history
from instructgpt.loop.places import FEEDBACK
from instructgpt.loop.state import LoopState, RoundState, read_state
from instructgpt.loop.verdict import SOURCES, standing

_POINTS = 200  # of a path of intervals; more cannot be told apart on a page


def view(folder: Path) -> dict[str, Any]:
    """Name, what is served, every round, the open comparison, thumbs and the history.

    Errors: RunDirError when there is no loop in `folder`.
    """
    state = read_state(folder)
    return {
        "name": state.name,
        "served": state.served.name,
        "rounds": [_round(state, one) for one in state.rounds.values()],
        "comparison": _comparison(folder, state),
        "thumbs": _thumbs(folder),
        "history": [event.to_dict() for event in read_history(folder)],
    }


def round_rows(seen: Mapping[str, Any]) -> list[list[str]]:
    """A table of the rounds: round, state, prompts, demonstrations, votes, judges."""
    return [
        [
            str(one["round"]),
            one["state"] + _since(one, seen["served"]),
            _text(one["prompts"]),
            _text(one["demonstrations"]),
            *(interval_text(one[source]) for source in SOURCES),
        ]
        for one in seen["rounds"]
    ]


def comparison_text(seen: Mapping[str, Any]) -> str | None:
    """`round-2 is compared with round-1, by votes: votes 0.62 [0.54, 0.70] of 180, judges -`."""
    open_ = seen["comparison"]
    if open_ is None:
        return None
    said = (
        f"{source} {interval_text(path[-1] if path else None)}"
        for source, path in open_["paths"].items()
    )
    return (
        f"{open_['candidate']} is compared with {open_['against']}, by "
        f"{' and '.join(open_['decided_by'])}: {', '.join(said)}"
    )


def interval_text(interval: Mapping[str, Any] | None) -> str:
    """`0.62 [0.54, 0.70] of 180`."""
    if interval is None:
        return "-"
    return "{value:.2f} [{low:.2f}, {high:.2f}] of {n}".format(**interval)


def _since(one: Mapping[str, Any], served: str) -> str:
    """What became of a promoted model."""
    if one["rolled_back"]:
        return ", rolled back"
    return ", served" if one["model"] == served else ""


def _round(state: LoopState, one: RoundState) -> dict[str, Any]:
    ended = one.events.get("promoted") or one.events.get("kept")
    facts = {} if ended is None else ended.facts
    opened = one.events.get("opened")
    collected = one.events.get("collected")
    demonstrated = one.events.get("demonstrated")
    return {
        "round": one.number,
        "state": one.phase,
        "why": facts.get("why"),
        "model": None if one.candidate is None else one.candidate.name,
        "against": None if opened is None else opened.facts["against"],
        "prompts": None if collected is None else _taken(collected.facts),
        "left_out": {} if collected is None else collected.facts["left_out"],
        "demonstrations": None if demonstrated is None else demonstrated.facts["demonstrations"],
        "started": one.events["started"].at,
        "ended": None if ended is None else ended.at,
        "by": None if ended is None else ended.by,
        "rolled_back": one.candidate is not None
        and "promoted" in one.events
        and one.candidate not in state.past,
        **{source: facts.get(source) for source in SOURCES},
    }


def _taken(facts: Mapping[str, Any]) -> int:
    return sum(facts[use] for use in ("demonstrate", "rank", "judge", "ppo_new"))


def _comparison(folder: Path, state: LoopState) -> dict[str, Any] | None:
    comparison = state.comparison
    if comparison is None:
        return None
    found = standing(folder, comparison)
    return {
        "candidate": comparison.candidate.name,
        "against": comparison.against.name,
        "decided_by": list(comparison.decided_by),
        "alpha": comparison.alpha,
        "max_votes": comparison.max_votes,
        "decision": found.decision,
        "paths": {source: _thin(path) for source, path in found.paths.items()},
    }


def _thin(path: Sequence[Interval]) -> list[dict[str, Any]]:
    """At most `_POINTS` of the intervals, the last one among them."""
    step = max(1, -(-len(path) // _POINTS))
    return [one.to_dict() for one in path[::-step][::-1]]


def _thumbs(folder: Path) -> dict[str, dict[str, Any]]:
    """Model -> share of thumbs that were up, as it was used."""
    said: dict[str, list[bool]] = {}
    for thumb in read_thumbs(folder / FEEDBACK):
        said.setdefault(thumb.model, []).append(thumb.good)
    return {
        name: wilson_interval(sum(ups), len(ups)).to_dict() for name, ups in sorted(said.items())
    }


def _text(value: Any) -> str:
    return "-" if value is None else str(value)
