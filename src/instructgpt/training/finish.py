"""The end of a training stage: its model as a plain directory, with the run's facts beside it."""

from __future__ import annotations

from typing import Any

from instructgpt import __version__
from instructgpt.distributed.world import World
from instructgpt.models.adapter_files import save_adapter
from instructgpt.models.adapters import merged_model
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.export import export_model
from instructgpt.models.soft_prompt_files import save_soft_prompts
from instructgpt.models.soft_prompts import SoftPrompts
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
    `adapter/` (`critic_adapter/` for `critic/`). Soft prompts are no weights of the model: they are
    in `adapter/`, and there is no `model/`.
    """
    if world.is_main:
        _write(run, trained, summary, folder)
    world.barrier()
    return summary


def _write(run: RunDir, trained: TrainableModel, summary: dict[str, Any], folder: str) -> None:
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
    name = "adapter" if folder == "model" else f"{folder}_adapter"
    if isinstance(adapter, SoftPrompts):
        assert isinstance(trained, CausalLM)
        save_soft_prompts(trained, run.path(name), facts)
        return
    if adapter is not None:
        save_adapter(model, adapter, run.path(name), facts)
        model = merged_model(model, adapter)
    export_model(model, trained.tokenizer, run.path(folder), facts)
