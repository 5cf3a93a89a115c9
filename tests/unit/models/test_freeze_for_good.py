"""Frozen models that keep their matrices in the computing type say what they said before."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedModel,
)

from instructgpt.models.batch import TokenBatch
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.kernels import use_fast_kernels
from instructgpt.models.load import freeze_for_good
from instructgpt.models.scalar_model import ScalarModel

LLAMA = {
    "vocab_size": 20, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 2, "pad_token_id": 0, "num_labels": 1, "initializer_range": 0.3,
}  # fmt: skip
GPT2 = {
    "vocab_size": 20, "n_embd": 16, "n_layer": 2, "n_head": 2, "pad_token_id": 0, "num_labels": 1,
    "bos_token_id": 1, "eos_token_id": 1, "initializer_range": 0.3,
}  # fmt: skip


class Tokenizer:
    pad_token_id = 0


def build(make: Callable[[], PreTrainedModel], dtype: torch.dtype) -> CausalLM | ScalarModel:
    torch.manual_seed(0)
    model = make().eval()
    use_fast_kernels(model)
    kind = ScalarModel if hasattr(model, "score") else CausalLM
    return kind(model, Tokenizer(), dtype)


@torch.no_grad()
def answers(model: CausalLM | ScalarModel) -> Tensor:
    batch = TokenBatch.from_completions([[3, 4, 5], [6]], [[7, 2], [8, 9, 2]], 0)
    if isinstance(model, CausalLM):
        return torch.stack(model.logprobs_and_entropy(batch, 0.7))
    return model.scores(batch)


@pytest.mark.parametrize(
    "make",
    [
        lambda: GPT2LMHeadModel(GPT2Config(**GPT2)),
        lambda: GPT2ForSequenceClassification(GPT2Config(**GPT2)),
        lambda: LlamaForCausalLM(LlamaConfig(tie_word_embeddings=True, **LLAMA)),
        lambda: LlamaForCausalLM(LlamaConfig(tie_word_embeddings=False, **LLAMA)),
        lambda: LlamaForSequenceClassification(LlamaConfig(**LLAMA)),
    ],
    ids=["gpt2", "gpt2 scores", "tied", "untied", "scores"],
)
def test_not_a_bit_of_its_answers_changes(make: Callable[[], PreTrainedModel]) -> None:
    model = build(make, torch.bfloat16)
    before = answers(model)
    size = sum(p.nbytes for p in model.model.parameters())
    embeddings = model.model.get_input_embeddings().weight
    freeze_for_good(model)
    assert torch.equal(answers(model), before)
    assert model.padding_free
    parameters = dict(model.model.named_parameters())
    assert not any(p.requires_grad for p in parameters.values())
    assert embeddings.dtype == torch.float32
    narrow = sum(p.nbytes for p in parameters.values() if p.dtype == torch.bfloat16)
    assert sum(p.nbytes for p in parameters.values()) == size - narrow
    if isinstance(model, ScalarModel):
        assert model.head.weight.dtype == torch.float32
    layers = [name for name in parameters if "mlp" in name or "attn" in name]
    assert layers
    assert all(parameters[name].dtype == torch.bfloat16 for name in layers)


def test_in_float32_it_is_frozen_and_nothing_else() -> None:
    model = build(lambda: LlamaForCausalLM(LlamaConfig(**LLAMA)), torch.float32)
    before = answers(model)
    freeze_for_good(model)
    assert torch.equal(answers(model), before)
    assert {p.dtype for p in model.model.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in model.model.parameters())
