"""The end of a training stage: its model as a plain directory, with the run's facts beside it."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from instructgpt import __version__
from instructgpt.distributed.world import World
from instructgpt.models.export import export_model
from instructgpt.storage.run_dir import RunDir


def finish_model(
    run: RunDir,
    world: World,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    summary: dict[str, Any],
    folder: str = "model",
) -> dict[str, Any]:
    """Export to `folder` of the run directory (rank 0 only) and hand the summary through."""
    if world.is_main:
        facts = {
            "name": run.root.name,
            "stage": run.stage,
            "version": __version__,
            "seed": run.manifest["seed"],
            "parents": run.manifest["parents"],
            "fingerprint": run.fingerprint,
            "summary": summary,
        }
        export_model(model, tokenizer, run.path(folder), facts)
    world.barrier()
    return summary
