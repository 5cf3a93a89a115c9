"""How the report calls things, and in which order models stand."""

from __future__ import annotations

from collections.abc import Iterable

# The order of the paper's figure 1, from the raw model to the best.
_MODELS = {
    "base": "base",
    "sft": "SFT",
    "best_of_n": "best-of-n",
    "dpo": "DPO",
    "ppo": "PPO",
    "ppo_ptx": "PPO-ptx",
}
_STAGES = {
    "microworld": "world",
    "pretrain": "pretraining",
    "sft": "SFT",
    "label": "labels",
    "reward_model": "reward model",
    "ppo": "PPO",
    "dpo": "DPO",
    "best_of_n": "best-of-n",
    "evaluate": "evaluation",
    "report": "report",
}


def model_label(name: str) -> str:
    """The name of a model as readers know it; unknown names stay."""
    return _MODELS.get(name, name)


def stage_label(stem: str) -> str:
    """What a kind of stage makes."""
    return _STAGES.get(stem, stem.replace("_", " "))


def in_order(names: Iterable[str]) -> list[str]:
    """The paper's models first, in its order; others after them as they came."""
    known = list(_MODELS)
    return sorted(names, key=lambda n: known.index(n) if n in known else len(known))


# Every chart gives a model the colour of its place here.
MODEL_PALETTE = tuple(_MODELS.values())
