"""Settings of stage `sft`: supervised fine-tuning on demonstrations (paper section 3.5, C.1)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from instructgpt.config.adapter import AdapterConfig, check_adapter
from instructgpt.config.shared import OptimConfig, SamplingConfig, TrainConfig


class SFTConfig(TrainConfig):
    """Fine-tune a causal LM on demonstrations; loss on the assistant's tokens including EOS."""

    model: str
    """Model to start from: a directory or a hub name."""
    demonstrations: str
    """Training demonstrations."""
    demonstrations_valid: str | None = None
    """Demonstrations for the validation loss; needed for select = valid_loss."""
    chat_template: str | None = None
    """Template for a model that has none: compact, chatml, alpaca or plain."""
    loss_on: Literal["assistant", "last", "all"] = "assistant"
    """Tokens that are learned: every assistant turn, the last one, or prompts too."""
    epochs: int = Field(default=16, gt=0)
    """Passes over the demonstrations (paper: 16; 2 for the model that PPO starts from)."""
    batch_size: int = Field(default=32, gt=0)
    """Demonstrations per optimizer step (paper: 32; 8 at 175B)."""
    max_tokens: int | None = Field(default=None, gt=0)
    """Longer dialogues are dropped and counted; default: the model's context (paper: 2,048)."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Residual dropout; the paper's 0.2 where the architecture has any."""
    pretraining_documents: str | None = None
    """Documents mixed in; the paper's PPO start mixes 10 % pretraining data."""
    pretraining_fraction: float = Field(default=0.0, ge=0, lt=1)
    """Share of the tokens of each step that comes from pretraining_documents (paper C.3: 0.1)."""
    pretraining_row_tokens: int = Field(default=128, gt=1)
    """Most tokens of a pretraining row; use the one of pretraining."""
    select: Literal["last", "valid_loss", "reward_score"] = "last"
    """Which evaluation's model is kept; the paper selects by reward-model score."""
    reward_model: str | None = None
    """Reward model for select = reward_score."""
    prompts_valid: str | None = None
    """Prompts answered for select = reward_score; default: those of demonstrations_valid."""
    sampling: SamplingConfig = SamplingConfig()
    """How those prompts are answered."""
    adapter: AdapterConfig = AdapterConfig()
    """LoRA or a soft prompt instead of training every weight."""
    optim: OptimConfig = OptimConfig(lr=9.65e-6)
    """Paper C.1 for 1.3B and 6B: 9.65e-6, cosine to 10 %, no warmup."""

    @model_validator(mode="after")
    def _check(self) -> SFTConfig:
        if self.select == "valid_loss" and self.demonstrations_valid is None:
            raise ValueError("select = valid_loss needs demonstrations_valid")
        if self.select == "reward_score" and self.reward_model is None:
            raise ValueError("select = reward_score needs reward_model")
        if self.select == "reward_score" and not (self.prompts_valid or self.demonstrations_valid):
            raise ValueError("select = reward_score needs prompts_valid or demonstrations_valid")
        if (self.pretraining_fraction > 0) != (self.pretraining_documents is not None):
            raise ValueError("pretraining_fraction and pretraining_documents go together")
        if self.adapter.type == "soft_prompt" and self.pretraining_documents:
            raise ValueError("documents have no soft prompt before them: leave "
                             "pretraining_documents out, or set adapter.type = lora")  # fmt: skip
        check_adapter(self.adapter, self.optim, compile=self.compile)
        return self
