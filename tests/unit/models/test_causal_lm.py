from __future__ import annotations

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from instructgpt.models.batch import TokenBatch
from instructgpt.models.causal_lm import CausalLM, context_length, head_is_separable


class _Tokenizer:
    pad_token_id = 0


def _gpt2():
    return GPT2LMHeadModel(
        GPT2Config(
            n_layer=2, n_embd=32, n_head=2, vocab_size=50, n_positions=64,
            bos_token_id=1, eos_token_id=2, resid_pdrop=0, attn_pdrop=0, embd_pdrop=0,
        )
    )  # fmt: skip


def _llama():
    return LlamaForCausalLM(
        LlamaConfig(
            num_hidden_layers=2, hidden_size=32, intermediate_size=64, num_attention_heads=2,
            num_key_value_heads=1, vocab_size=50, max_position_embeddings=64,
        )
    )  # fmt: skip


def _gemma2():
    return Gemma2ForCausalLM(
        Gemma2Config(
            num_hidden_layers=2, hidden_size=32, intermediate_size=64, num_attention_heads=2,
            num_key_value_heads=1, head_dim=16, vocab_size=50, max_position_embeddings=64,
            final_logit_softcapping=0.01,
        )
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def _expected(model, ids, start, temperature=1.0):
    """Token by token from the model's own logits, in float64."""
    logits = model(torch.tensor([ids])).logits[0].double() / temperature
    return [
        (logits[t - 1, ids[t]] - logits[t - 1].logsumexp(0)).item() for t in range(start, len(ids))
    ]


@pytest.mark.parametrize("make", [_gpt2, _llama, _gemma2])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_equal_the_models_own_logits_row_by_row(make, temperature):
    model = make().eval()
    prompts, completions = [[3, 4, 5, 6], [7], [8, 9]], [[10, 2], [11, 12, 13, 2], [14]]
    batch = TokenBatch.from_completions(prompts, completions, pad_id=0)
    got_BT = CausalLM(model, _Tokenizer()).logprobs(batch, temperature)
    assert torch.equal(got_BT != 0, batch.mask_BT)
    for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        expected = _expected(model, prompt + completion, len(prompt), temperature)
        got = got_BT[row][batch.mask_BT[row]].tolist()
        assert got == pytest.approx(expected, abs=1e-5)


def test_a_head_that_softcaps_its_logits_is_noticed():
    assert head_is_separable(_gpt2())
    assert head_is_separable(_llama())
    assert not head_is_separable(_gemma2())


@pytest.mark.parametrize("make", [_gpt2, _llama])
def test_padding_content_and_amount_change_nothing(make):
    lm = CausalLM(make().eval(), _Tokenizer())
    ids, mask = [3, 4, 5, 6, 2], [False, False, True, True, True]
    alone = lm.logprobs(TokenBatch.from_sequences([ids], [mask], 0))[0]
    for pad in (0, 49):
        beside = TokenBatch.from_sequences([ids, [7] * 11], [mask, [True] * 11], pad)
        torch.testing.assert_close(lm.logprobs(beside)[0, :5], alone, atol=1e-5, rtol=1e-5)


def test_first_token_of_a_row_has_no_logprob():
    lm = CausalLM(_llama().eval(), _Tokenizer())
    batch = TokenBatch.from_sequences([[3, 4]], [[True, True]], 0)
    assert lm.logprobs(batch)[0, 0] == 0.0


def test_entropy_is_that_of_the_predicting_distribution():
    model = _gpt2().eval()
    batch = TokenBatch.from_completions([[3, 4]], [[5]], 0)
    _, entropy_BT = CausalLM(model, _Tokenizer()).logprobs_and_entropy(batch)
    probs = model(torch.tensor([[3, 4]])).logits[0, -1].double().softmax(-1)
    assert entropy_BT[0, 2].item() == pytest.approx(-(probs * probs.log()).sum().item(), abs=1e-5)


def test_gradients_equal_those_of_the_plain_loss():
    model = _llama()
    batch = TokenBatch.from_completions([[3, 4, 5]], [[6, 7, 2]], 0)
    CausalLM(model, _Tokenizer()).logprobs(batch).sum().backward()
    ours = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    ids = batch.token_ids_BT
    logits = model(ids).logits[:, 2:-1]
    (-torch.nn.functional.cross_entropy(logits[0], ids[0, 3:], reduction="sum")).backward()
    for mine, parameter in zip(ours, model.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, atol=1e-5, rtol=1e-4)


def test_context_length_is_read_from_the_config():
    assert context_length(_gpt2()) == 64
    assert context_length(_llama()) == 64


def test_padding_on_the_right_is_nothing_to_warn_of(monkeypatch):
    """GPT-2 looked for padding in every pass, and told users of it once in every stage."""
    model = _gpt2()
    model.config.pad_token_id = 0

    def warn(*inputs):
        raise AssertionError("asked about padding")

    monkeypatch.setattr(type(model.transformer), "warn_if_padding_and_no_attention_mask", warn)
    lm = CausalLM(model, _Tokenizer())
    batch = TokenBatch.from_sequences([[5, 6, 7], [8]], [[True] * 3, [True]], pad_id=0)
    assert lm.logprobs(batch).shape == (2, 3)
