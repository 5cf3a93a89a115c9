"""What changes which model is served: promoting, dropping, rolling back. Each is one row."""

from __future__ import annotations

from pathlib import Path

from instructgpt.errors import ConfigError
from instructgpt.loop.history import add_event, deciding
from instructgpt.loop.state import Comparison, LoopState, read_state
from instructgpt.loop.verdict import Standing, standing
from instructgpt.loop.view import interval_text


def close_comparison(
    root: Path, comparison: Comparison, promote: bool, found: Standing, *, by: str, why: str
) -> LoopState:
    """End the open comparison with the numbers that decided it. Errors: ConfigError if somebody
    has ended it meanwhile.
    """
    with deciding(root):
        if read_state(root).comparison != comparison:
            raise ConfigError("the comparison has ended meanwhile; start again to go on")
        kind = "promoted" if promote else "kept"
        add_event(root, kind, comparison.candidate.round, by, why=why, **found.facts())
        return read_state(root)


def promote(root: Path, by: str, *, anyway: bool = False) -> LoopState:
    """Promote the candidate of the open comparison if its intervals say so, or `anyway`.

    Errors: ConfigError where nothing is compared, or the intervals do not say so.
    """
    comparison = read_state(root).comparison
    if comparison is None:
        raise ConfigError(f"nothing is being compared in '{root}'; a round's end opens it")
    found = standing(root, comparison)
    if found.decision != "better" and not anyway:
        said = ", ".join(
            f"{source} {interval_text(one.to_dict())}"
            for source, one in found.last.items()
            if one is not None
        )
        raise ConfigError(
            f"{comparison.candidate.name} has not been shown to be better ({said or 'no votes'}); "
            "wait for more votes, or promote it --anyway"
        )
    why = "better" if found.decision == "better" else "by hand"
    return close_comparison(root, comparison, True, found, by=by, why=why)


def roll_back(root: Path, by: str) -> LoopState:
    """Serve again what was served before the last promotion. Errors: ConfigError at the start."""
    read_state(root)  # a folder that is no loop is said to be none before it is locked
    with deciding(root):
        state = read_state(root)
        if len(state.past) < 2:
            raise ConfigError(
                f"'{root}' serves {state.served.name}, and nothing was served before it"
            )
        before = state.past[-2]
        add_event(root, "rolled_back", state.served.round, by, model=before.name)
        return read_state(root)
