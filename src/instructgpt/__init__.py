"""The whole of InstructGPT: pretraining, demonstrations, rankings, reward model, PPO-ptx, proof.

    from instructgpt import InstructGPT
    model = InstructGPT.load("gpt2")

Every public name is imported when it is first used, so `import instructgpt` needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from instructgpt.api import InstructGPT
    from instructgpt.data.records import Demonstration, Document, Message, Prompt, Ranking
    from instructgpt.errors import InstructGPTError
    from instructgpt.pipeline.run import run_recipe
    from instructgpt.rollout.engine import Engine
    from instructgpt.rollout.types import Rollout, SamplingParams

__version__ = "0.1.0"

__all__ = [
    "InstructGPT",
    "Message",
    "Document",
    "Prompt",
    "Demonstration",
    "Ranking",
    "Engine",
    "SamplingParams",
    "Rollout",
    "run_recipe",
    "InstructGPTError",
    "__version__",
]

_HOMES = {
    "InstructGPT": "instructgpt.api",
    "Message": "instructgpt.data.records",
    "Document": "instructgpt.data.records",
    "Prompt": "instructgpt.data.records",
    "Demonstration": "instructgpt.data.records",
    "Ranking": "instructgpt.data.records",
    "Engine": "instructgpt.rollout.engine",
    "SamplingParams": "instructgpt.rollout.types",
    "Rollout": "instructgpt.rollout.types",
    "run_recipe": "instructgpt.pipeline.run",
    "InstructGPTError": "instructgpt.errors",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'instructgpt' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
