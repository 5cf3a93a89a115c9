"""One line before a stage trains, with what it will take; one after it, with what it took."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from instructgpt.distributed.world import World
from instructgpt.errors import ConfigError
from instructgpt.models.cpu_memory import give_back_memory
from instructgpt.models.memory import (
    activation_bytes,
    cache_bytes,
    cast_bytes,
    export_bytes,
    trained_bytes,
    weight_bytes,
)
from instructgpt.models.memory_meter import (
    available_bytes,
    make_resident,
    peak_bytes,
    restart_peak,
    used_bytes,
)
from instructgpt.models.trainable import TrainableModel
from instructgpt.progress import announce
from instructgpt.storage.run_dir import RunDir

logger = logging.getLogger(__name__)

_ADAM_STATES = 2  # first and second moment, float32 like the weights
_MIB = 2**20
_CERTAIN = ("gradients", "optimizer", "average")


def memory_parts(
    models: Mapping[str, TrainableModel],
    budget: int,
    *,
    items: int,
    largest: int,
    slots: int = 0,
    positions: int = 0,
    averaged: bool = False,
) -> dict[str, int]:
    """Bytes by part for stages that train the first of `models`, and the critic if there is one.

    budget: padded tokens of a microbatch, unless all `items` of a step are fewer or the `largest`
    item alone is more. slots, positions: of the engine, 0 without one. averaged: the first model's
    weights have a moving average.
    """
    first = next(iter(models.values()))
    trained = [first, *(model for name, model in models.items() if name == "critic")]
    tokens = max(largest, min(budget, items * largest))
    weights = sum(map(trained_bytes, trained))
    activations = max(activation_bytes(m, tokens) for m in trained)
    parts = {
        **weight_bytes(models),
        "gradients": weights,
        "optimizer": _ADAM_STATES * weights,
        "average": trained_bytes(first) if averaged else 0,
        "activations": max(activations, *map(export_bytes, trained))
        + max(map(cast_bytes, trained)),
        "key-value cache": cache_bytes(first.model, slots, positions, first.dtype),
    }
    return {name: size for name, size in parts.items() if size}


@contextmanager
def watched_memory(
    run: RunDir, world: World, models: Mapping[str, TrainableModel], parts: dict[str, int]
) -> Iterator[None]:
    """Print `parts` against what is free, run the block, print and record the peak.

    Errors: ConfigError, before the block, when not even gradients and optimizer fit.
    """
    device = next(iter(models.values())).device
    give_back_memory()  # what an earlier stage of this process has had
    for model in models.values():
        make_resident(model.model)
    loaded = sum(size for name, size in parts.items() if name in models)
    other = max(0, (used_bytes(device) or loaded) - loaded)
    parts = {**parts, "program": other}
    estimate, free = sum(parts.values()), available_bytes(device)
    if world.is_main:
        announce(f"memory    about {_estimate_line(parts)}; {_free_line(free)}")
    _refuse(parts, free, estimate - loaded - other, world)
    fresh = restart_peak(device)
    yield
    peak = peak_bytes(device)
    if world.is_main:
        since = "" if fresh else ", this process's earlier stages included"
        announce(f"memory    {_text(peak)} at the peak ({_text(estimate)} estimated){since}")
        run.record_environment(memory={"estimate": parts, "peak": peak, "peak_is_stage's": fresh})


def _refuse(parts: Mapping[str, int], free: int | None, more: int, world: World) -> None:
    if free is None or more <= free:
        return
    certain = sum(parts.get(name, 0) for name in _CERTAIN)
    if certain > free:
        raise ConfigError(
            f"gradients and optimizer need {_text(certain)} and {_text(free)} are free; "
            "set adapter.type = lora, or take a smaller model"
        )
    if world.is_main:
        logger.warning(
            "this will probably not fit: %s more are needed and %s are free; set adapter.type = "
            "lora, or lower hardware.tokens_per_microbatch",
            _text(more),
            _text(free),
        )


def _estimate_line(parts: Mapping[str, int]) -> str:
    shown = {name: size for name, size in parts.items() if size >= _MIB}
    listed = ", ".join(f"{name.replace('_', ' ')} {_text(size)}" for name, size in shown.items())
    return f"{_text(sum(parts.values()))} ({listed})"


def _free_line(free: int | None) -> str:
    return "the system does not say what is free" if free is None else f"{_text(free)} free"


def _text(size: int) -> str:
    return f"{size / _MIB:.0f} MiB" if size < 1024 * _MIB else f"{size / _MIB / 1024:.2f} GiB"
