"""`InstructGPT.fit`: how long a handful of rows, or many, is trained."""

from __future__ import annotations

import math

from instructgpt.api_adapter import learning_rate
from instructgpt.api_results import FitResult
from instructgpt.config.adapter import AdapterConfig
from instructgpt.config.sft import SFTConfig
from instructgpt.config.shared import OptimConfig
from instructgpt.models.causal_lm import CausalLM
from instructgpt.progress import progress
from instructgpt.training.sft import SFTTrainer

# Fewer steps than this do not teach a handful of rows; many rows get their passes anyway.
_MIN_STEPS = 300
_MIN_EPOCHS = 3
# Mean loss per token over the last pass at which the rows are known by heart.
_LEARNED = 0.01


def fit_config(
    lm: CausalLM,
    source: str,
    rows: int,
    *,
    epochs: int | None,
    lr: float | None,
    batch_size: int,
    adapter: AdapterConfig,
    seed: int,
) -> SFTConfig:
    """The stage's settings for this many rows, with defaults that are safe at any size."""
    batch_size = min(batch_size, max(1, rows))
    if epochs is None:
        epochs = max(_MIN_EPOCHS, math.ceil(_MIN_STEPS / (max(1, rows) / batch_size)))
    return SFTConfig(
        model=source,
        demonstrations="given to fit()",
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        adapter=adapter,
        optim=OptimConfig(lr=lr or learning_rate(lm, 1.0, adapter), warmup_steps=5),
    )


def run_fit(trainer: SFTTrainer) -> FitResult:
    """Run the trainer's steps, stopping after a pass whose mean loss says that all is learned."""
    per_epoch = max(1, trainer.total_steps // trainer.config.epochs)
    recent: list[float] = []
    done = 0
    with progress("fit", trainer.total_steps, unit="step") as bar:
        while done < trainer.total_steps:
            recent.append(trainer.step(done)["loss"])
            done += 1
            bar.advance(1, loss=recent[-1])
            if done % per_epoch == 0:
                last = recent[-per_epoch:]
                if sum(last) / len(last) < _LEARNED:
                    break
    last = recent[-per_epoch:]
    trainer.lm.model.eval()
    return FitResult(done, done / per_epoch, sum(last) / len(last))
