"""Settings of stage `pretrain`: a causal language model from raw text."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from instructgpt.config.base import Config
from instructgpt.config.shared import OptimConfig, TrainConfig


class ModelShape(Config):
    """A new model: a stock architecture at a given size."""

    architecture: Literal["llama", "gpt2"] = "llama"
    """llama (rotary positions) or gpt2 (learned positions)."""
    layers: int = Field(default=4, gt=0)
    """Transformer blocks."""
    width: int = Field(default=192, gt=0)
    """Hidden width."""
    heads: int = Field(default=3, gt=0)
    """Attention heads; must divide width."""
    kv_heads: int | None = None
    """Key/value heads of grouped-query attention (llama only); default: as many as heads."""
    context: int = Field(default=256, gt=0)
    """Longest sequence the model can read."""

    @model_validator(mode="after")
    def _check(self) -> ModelShape:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.kv_heads is not None and self.architecture != "llama":
            raise ValueError("kv_heads applies to architecture llama only")
        if self.kv_heads is not None and self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}")
        return self


class PretrainConfig(TrainConfig):
    """Tokenizer training and causal LM pretraining from scratch, or continued from a model."""

    documents: str
    """Training documents: text, or JSONL with `text`; a file or a folder."""
    documents_heldout: str | None = None
    """Documents for the held-out loss; default: none is reported."""
    model: str | None = None
    """Continue from this model instead of a new one; shape and vocab_size are then its own."""
    shape: ModelShape = ModelShape()
    """The new model."""
    vocab_size: int = Field(default=1024, gt=256)
    """Byte-level BPE entries of the new tokenizer."""
    tokens: int = Field(default=600_000, gt=0)
    """Training tokens in all; documents repeat when they run out."""
    row_tokens: int = Field(default=128, gt=1)
    """Most tokens of a row: a document, or a piece of a longer one."""
    batch_tokens: int = Field(default=8192, gt=0)
    """Tokens per optimizer step."""
    optim: OptimConfig = OptimConfig(lr=4e-3, optimizer="muon", warmup_steps=5)
    """Measured on the small world (docs/LOG.md), not the paper's."""

    @model_validator(mode="after")
    def _check(self) -> PretrainConfig:
        for name in ("shape", "vocab_size"):
            if (
                self.model is not None
                and getattr(self, name) != type(self).model_fields[name].default
            ):
                raise ValueError(f"{name} describes a new model; remove it, or remove model")
        return self
