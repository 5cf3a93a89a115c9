"""Stage `pretrain`: a tokenizer and a causal language model from raw text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from instructgpt.config.pretrain import PretrainConfig
from instructgpt.data.readers import stream_records
from instructgpt.data.records import Document
from instructgpt.distributed.world import World
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.compiled import compile_models
from instructgpt.models.create import create_causal_lm
from instructgpt.models.kernels import use_fast_kernels
from instructgpt.models.load import load_causal_lm
from instructgpt.models.precision import choose_device, choose_dtype
from instructgpt.storage.run_dir import RunDir
from instructgpt.storage.token_store import TokenSequence
from instructgpt.text.tokenizer import train_bpe
from instructgpt.training.batches import ShuffledStream
from instructgpt.training.finish import finish_model
from instructgpt.training.language_modeling import (
    count_targets,
    language_model_microbatches,
    mean_length,
    mean_nll,
)
from instructgpt.training.memory import memory_parts, watched_memory
from instructgpt.training.optimizer import Optimizer, lr_factor
from instructgpt.training.runner import PhaseClock, drive
from instructgpt.training.token_data import TokenData
from instructgpt.training.update import Update


def run(config: PretrainConfig, run: RunDir) -> dict[str, Any]:
    """Train on the documents and export `model/`; returns the summary."""
    world = World.from_launcher()
    lm = _load_or_create(config)
    data = TokenData(run, world, lm.tokenizer)
    rows = data.documents("documents", config.documents, config.row_tokens)
    heldout = (
        data.documents("documents_heldout", config.documents_heldout, config.row_tokens)
        if config.documents_heldout
        else []
    )
    trainer = PretrainTrainer(config, lm, rows, heldout, world)
    models = {"model": lm}
    parts = memory_parts(
        models,
        config.hardware.tokens_per_microbatch,
        items=trainer.rows_per_step,
        largest=config.row_tokens,
    )
    compile_models(models, config.compile)
    with watched_memory(run, world, models, parts):
        drive(
            trainer,
            run,
            world,
            name="pretrain",
            checkpoint_every=config.checkpoint_every,
            eval_every=config.eval_every,
        )
        summary = {
            **trainer.heldout,
            "rows": len(rows),
            "parameters": lm.model.num_parameters(),
        }
        return finish_model(run, world, lm, summary)


def _load_or_create(config: PretrainConfig) -> CausalLM:
    hardware = config.hardware
    if config.model is not None:
        return load_causal_lm(config.model, device=hardware.device, dtype=hardware.dtype)
    documents = stream_records(config.documents, Document)
    tokenizer = train_bpe((d.text for d in documents), config.vocab_size)
    device = choose_device(hardware.device)
    dtype, _reason = choose_dtype(hardware.dtype, device)
    model = create_causal_lm(config.shape, tokenizer, config.seed)
    use_fast_kernels(model.to(device))
    return CausalLM(model, tokenizer, dtype)


class PretrainTrainer:
    """Next-token prediction on rows of documents."""

    def __init__(
        self,
        config: PretrainConfig,
        lm: CausalLM,
        rows: Sequence[TokenSequence],
        heldout: Sequence[TokenSequence],
        world: World,
    ) -> None:
        self.config = config
        self.lm = lm
        self.rows = rows
        self.heldout_rows = heldout
        self.world = world
        self.clock = PhaseClock()
        self.heldout: dict[str, float] = {}
        mean = mean_length(rows)
        self.rows_per_step = max(1, round(config.batch_tokens / mean))
        self.total_steps = math.ceil(config.tokens / (self.rows_per_step * mean))
        self.stream = ShuffledStream(len(rows), config.seed, "pretraining rows")
        self.optimizer = Optimizer(lm.model, config.optim)
        self.update = Update(self.optimizer, config.optim.max_grad_norm, world)
        lm.model.train()

    @property
    def arithmetic(self) -> str:
        """Where the number of steps comes from."""
        passes = self.total_steps * self.rows_per_step / len(self.rows)
        rows = f"rows a step, {mean_length(self.rows):.3g} tokens long on average"
        return f"{self.rows_per_step} {rows}; {passes:.3g} passes over {len(self.rows)} rows"

    def step(self, step: int) -> dict[str, float]:
        """One optimizer step over `batch_tokens` tokens."""
        chosen = self.stream.indices(step * self.rows_per_step, self.rows_per_step)
        rows = [self.rows[i] for i in chosen]
        factor = lr_factor(step, self.total_steps, self.config.optim)
        with self.clock.phase("update"):
            microbatches = language_model_microbatches(
                self.lm,
                rows,
                max_tokens=self.config.hardware.tokens_per_microbatch,
                num_tokens=count_targets(rows),
            )
            stats = self.update({"pretrain": microbatches}, factor)
        self.clock.tokens += sum(len(ids) for ids, _ in rows)
        return {
            "loss": stats["nll"],
            "grad_norm": stats["grad_norm"],
            "lr": self.config.optim.lr * factor,
        }

    def evaluate(self, step: int) -> dict[str, float]:
        """Mean NLL per token on held-out documents."""
        if self.heldout_rows:
            budget = self.config.hardware.tokens_per_microbatch
            loss = mean_nll(self.lm, self.heldout_rows, max_tokens=budget, world=self.world)
            self.heldout = {"heldout_loss": loss}
        return self.heldout

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.lm.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.lm.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
