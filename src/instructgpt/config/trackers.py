"""Names of the experiment trackers that a run can report to, and what each one needs installed.

They are no setting of a stage: whoever watches a run must not change what it computes, nor whether
it is done already.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from instructgpt.config.load import did_you_mean
from instructgpt.errors import ConfigError

TRACKERS = {
    "tensorboard": "pip install 'instructgpt[tensorboard]'",
    "wandb": "pip install wandb",
    "mlflow": "pip install mlflow",
    "trackio": "pip install trackio",
}
"""Name, which is also the module's -> the command that installs it."""


def check_trackers(names: Iterable[str], where: str) -> tuple[str, ...]:
    """`names` without repetitions, in order; `where` starts the message of an error.

    Errors: ConfigError for a name that is none, and for one whose package is missing.
    """
    unique = tuple(dict.fromkeys(names))
    for name in unique:
        if name not in TRACKERS:
            raise ConfigError(
                f"{where}: there is no tracker called '{name}'{did_you_mean(name, TRACKERS)} "
                f"(trackers: {', '.join(TRACKERS)})"
            )
        if find_spec(name) is None:
            raise ConfigError(f"{where}: {name} is not installed; {TRACKERS[name]}")
    return unique
