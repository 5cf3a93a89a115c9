"""The end of a training stage: its model as a plain directory, with the run's facts beside it."""

from __future__ import annotations

from typing import Any

from instructgpt import __version__
from instructgpt.distributed.world import World
from instructgpt.models.adapter_files import save_adapter
from instructgpt.models.adapters import merged_model
from instructgpt.models.export import export_model
from instructgpt.models.trainable import TrainableModel
from instructgpt.storage.run_dir import RunDir


def finish_model(
    run: RunDir,
    world: World,
    trained: TrainableModel,
    summary: dict[str, Any],
    folder: str = "model",
) -> dict[str, Any]:
    """Export to `folder` of the run directory (rank 0 only) and hand the summary through.

    An adapter is merged into the model, which is then as plain as any other, and lies by itself in
    `adapter/` (`critic_adapter/` for `critic/`).
    """
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
        model, adapter = trained.model, trained.adapter
        if adapter is not None:
            name = "adapter" if folder == "model" else f"{folder}_adapter"
            save_adapter(model, adapter, run.path(name), facts)
            model = merged_model(model, adapter)
        export_model(model, trained.tokenizer, run.path(folder), facts)
    world.barrier()
    return summary
