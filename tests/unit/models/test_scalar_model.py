from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2ForSequenceClassification, LlamaConfig
from transformers import LlamaForSequenceClassification as Llama

from instructgpt.models.batch import TokenBatch
from instructgpt.models.scalar_model import ScalarModel, init_scalar_head


class _Tokenizer:
    pad_token_id = 0


def _llama():
    torch.manual_seed(0)
    config = LlamaConfig(
        num_hidden_layers=2, hidden_size=32, intermediate_size=64, num_attention_heads=2,
        vocab_size=50, max_position_embeddings=64, num_labels=1, pad_token_id=0,
    )  # fmt: skip
    return Llama(config).eval()


def _gpt2():
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=2, n_embd=32, n_head=2, vocab_size=50, n_positions=64, num_labels=1,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, resid_pdrop=0, attn_pdrop=0, embd_pdrop=0,
    )  # fmt: skip
    return GPT2ForSequenceClassification(config).eval()


@pytest.mark.parametrize("make", [_llama, _gpt2])
def test_score_is_what_transformers_says_plus_the_bias(make):
    model = make()
    scalar = ScalarModel(model, _Tokenizer())
    scalar.bias = 0.25
    batch = TokenBatch.from_completions([[3, 4, 5], [6]], [[7, 2], [8, 2]], 0)
    with torch.no_grad():
        expected = model(batch.token_ids_BT).logits.squeeze(-1) + 0.25
        assert scalar.scores(batch).tolist() == pytest.approx(expected.tolist(), abs=1e-6)


def test_value_before_a_token_does_not_see_it_and_the_score_does():
    scalar = ScalarModel(_llama(), _Tokenizer())
    with torch.no_grad():
        one = TokenBatch.from_completions([[3, 4]], [[5, 6]], 0)
        other = TokenBatch.from_completions([[3, 4]], [[5, 7]], 0)
        assert torch.equal(scalar.values(one), scalar.values(other))
        assert scalar.scores(one).item() != scalar.scores(other).item()
        assert scalar.values(one)[0, :2].tolist() == [0.0, 0.0]


def test_value_before_the_next_token_equals_the_score_so_far():
    """A critic copied from the reward model starts at the reward model's scores (detail 30)."""
    scalar = ScalarModel(_llama(), _Tokenizer())
    scalar.bias = -0.5
    with torch.no_grad():
        prefix = TokenBatch.from_completions([[3, 4]], [[5]], 0)
        longer = TokenBatch.from_completions([[3, 4]], [[5, 6]], 0)
        assert scalar.values(longer)[0, 3].item() == pytest.approx(
            scalar.scores(prefix).item(), abs=1e-6
        )


def test_the_query_matters():
    scalar = ScalarModel(_gpt2(), _Tokenizer())
    with torch.no_grad():
        a = scalar.scores(TokenBatch.from_completions([[3, 4]], [[5, 2]], 0))
        b = scalar.scores(TokenBatch.from_completions([[3, 9]], [[5, 2]], 0))
    assert a.item() != b.item()


@pytest.mark.parametrize(("width", "std"), [(64, 0.1240347346), (768, 0.0360609223)])
def test_head_init_has_the_published_spread(width, std):
    """std = 1/sqrt(d + 1); with 200,000 draws the sample std is within 1 % but for p < 1e-9."""
    generator = torch.Generator().manual_seed(0)
    heads = [nn.Linear(width, 1, bias=False) for _ in range(200_000 // width)]
    for head in heads:
        init_scalar_head(head, generator)
    weights = torch.cat([head.weight.flatten() for head in heads])
    assert weights.std().item() == pytest.approx(std, rel=0.01)
    assert abs(weights.mean().item()) < 5 * std / math.sqrt(len(weights))
