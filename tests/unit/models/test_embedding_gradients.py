"""The gradient of an embedding against PyTorch's own, where it is tied and where it is not."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from instructgpt.models.embedding_gradients import spare_embedding_gradients


def model(tied: bool) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=20, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
        num_attention_heads=2, tie_word_embeddings=tied, pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def accumulate(lm: nn.Module, batches: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    for ids_BT in batches:
        lm(ids_BT, labels=ids_BT).loss.backward()
    return {name: p.grad for name, p in lm.named_parameters()}


@pytest.mark.parametrize("tied", [True, False])
def test_gradients_of_several_microbatches_are_pytorchs_own(tied: bool) -> None:
    """Words that come twice, and the padding's, which has none by its embedding."""
    theirs = model(tied)
    ours = copy.deepcopy(theirs)
    spare_embedding_gradients(ours.get_input_embeddings())
    batches = [torch.tensor([[3, 4, 3, 0], [5, 3, 0, 0]]), torch.tensor([[7, 3, 19]])]
    expected = accumulate(theirs, batches)
    for name, got in accumulate(ours, batches).items():
        torch.testing.assert_close(got, expected[name], atol=1e-6, rtol=1e-5)


def test_a_copy_has_gradients_of_its_own() -> None:
    first = model(True)
    spare_embedding_gradients(first.get_input_embeddings())
    second = copy.deepcopy(first)
    accumulate(second, [torch.tensor([[3, 4]])])
    assert first.get_input_embeddings().weight.grad is None
    assert second.get_input_embeddings().weight.grad is not None


def test_frozen_and_special_embeddings_are_left_alone() -> None:
    frozen = model(True)
    embedding = frozen.get_input_embeddings()
    spare_embedding_gradients(embedding)
    embedding.weight.requires_grad_(False)
    ids_BT = torch.tensor([[3, 4, 5]])
    frozen(ids_BT, labels=ids_BT).loss.backward()
    assert embedding.weight.grad is None
    with torch.no_grad():
        assert torch.equal(embedding(ids_BT), embedding.weight[ids_BT])

    class Scaled(nn.Embedding):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input) * 2

    scaled = Scaled(20, 16)
    spare_embedding_gradients(scaled)
    assert type(scaled) is Scaled
