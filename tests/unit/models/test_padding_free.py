"""Rows side by side give what each row alone gives, and models that cannot are padded."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

from instructgpt.models.attention import cpu_attention
from instructgpt.models.batch import TokenBatch
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.compiled import compile_models
from instructgpt.models.kernels import use_fast_kernels
from instructgpt.models.padding_free import RowLayout, side_by_side, spare_tokens
from instructgpt.models.scalar_model import ScalarModel

LENGTHS = [7, 1, 30, 12, 29, 3, 13]
VOCAB = 24
ROPE = {
    "vocab_size": VOCAB, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 2, "max_position_embeddings": 128, "initializer_range": 0.3,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1,
}  # fmt: skip


class Tokenizer:
    pad_token_id = 0


def gpt2() -> PreTrainedModel:
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCAB, n_embd=16, n_layer=2, n_head=2, n_positions=128, resid_pdrop=0,
            attn_pdrop=0, embd_pdrop=0, initializer_range=0.3, bos_token_id=1, eos_token_id=1,
        )
    )  # fmt: skip


def llama() -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(num_key_value_heads=1, **ROPE))


def qwen3() -> PreTrainedModel:
    return Qwen3ForCausalLM(Qwen3Config(num_key_value_heads=1, head_dim=8, **ROPE))


def gpt_neox() -> PreTrainedModel:
    return GPTNeoXForCausalLM(GPTNeoXConfig(**ROPE))


def opt() -> PreTrainedModel:
    config = OPTConfig(
        vocab_size=VOCAB, hidden_size=16, word_embed_proj_dim=16, ffn_dim=24, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=128, init_std=0.3, dropout=0.0,
    )  # fmt: skip
    return OPTForCausalLM(config)


def with_window() -> PreTrainedModel:
    return MistralForCausalLM(MistralConfig(num_key_value_heads=1, sliding_window=4, **ROPE))


def without_positions() -> PreTrainedModel:
    return BloomForCausalLM(
        BloomConfig(vocab_size=VOCAB, hidden_size=16, n_layer=2, n_head=2, initializer_range=0.3)
    )


def recurrent() -> PreTrainedModel:
    return MambaForCausalLM(
        MambaConfig(vocab_size=VOCAB, hidden_size=16, num_hidden_layers=2, initializer_range=0.3)
    )


def hybrid() -> PreTrainedModel:
    return Qwen3NextForCausalLM(
        Qwen3NextConfig(
            num_key_value_heads=1, head_dim=8, linear_num_value_heads=2, linear_num_key_heads=2,
            linear_key_head_dim=8, linear_value_head_dim=8, num_experts=0, num_experts_per_tok=1,
            mlp_only_layers=[0, 1], layer_types=["linear_attention", "full_attention"], **ROPE,
        )
    )  # fmt: skip


def eager() -> PreTrainedModel:
    model = llama()
    model.set_attn_implementation("eager")
    return model


CAN = [gpt2, llama, qwen3, gpt_neox, opt]
CANNOT = [with_window, without_positions, recurrent, hybrid, eager]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def rows_and_masks() -> tuple[list[list[int]], list[list[bool]]]:
    rng = random.Random(0)
    rows = [[rng.randrange(2, VOCAB) for _ in range(n + 1)] for n in LENGTHS]
    return rows, [[False, *(rng.random() < 0.7 for _ in row[1:])] for row in rows]


@pytest.mark.parametrize("key_heads", [4, 2], ids=["own heads", "grouped"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_attention_is_that_of_each_row_alone(key_heads: int, dtype: torch.dtype) -> None:
    """Forward and backward, against PyTorch's attention over one row at a time in float32."""
    query, key, value = (
        torch.randn(1, h, sum(LENGTHS), 8, requires_grad=True) for h in (4, key_heads, key_heads)
    )
    slopes = torch.randn(1, sum(LENGTHS), 4, 8)
    rows = [
        F.scaled_dot_product_attention(*row, is_causal=True, enable_gqa=True)
        for row in zip(*(x.split(LENGTHS, dim=2) for x in (query, key, value)), strict=True)
    ]
    expected = torch.cat(rows, dim=2).transpose(1, 2)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16)
    layer = nn.Module()
    layer.num_key_value_groups = 4 // key_heads
    with side_by_side(RowLayout(LENGTHS)), autocast:
        got, _ = cpu_attention(layer, query, key, value, None)
    assert got.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 0.06
    torch.testing.assert_close(got.float(), expected, atol=tolerance, rtol=tolerance)
    ours = torch.autograd.grad((got * slopes).sum(), (query, key, value))
    theirs = torch.autograd.grad((expected * slopes).sum(), (query, key, value))
    for mine, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, right, atol=tolerance, rtol=tolerance)


def gradients(model: PreTrainedModel, loss: Tensor) -> list[Tensor]:
    model.zero_grad()
    loss.backward()
    return [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("build", CAN + CANNOT)
def test_logprobs_and_gradients_are_those_of_each_row_alone(
    build: Callable[[], PreTrainedModel],
) -> None:
    model = build()
    use_fast_kernels(model)
    lm = CausalLM(model, Tokenizer())
    assert lm.padding_free == (build in CAN)
    rows, masks = rows_and_masks()
    together_BT = lm.logprobs(TokenBatch.from_sequences(rows, masks, 0), 0.7)
    slopes_BT = torch.randn(together_BT.shape)
    ours = gradients(model, (together_BT * slopes_BT).sum())
    total = torch.zeros(())
    for i, (row, mask) in enumerate(zip(rows, masks, strict=True)):
        alone_T = lm.logprobs(TokenBatch.from_sequences([row], [mask], 0), 0.7)[0]
        torch.testing.assert_close(together_BT[i, : len(row)], alone_T, atol=1e-4, rtol=1e-4)
        assert not together_BT[i, len(row) :].any()
        total = total + (alone_T * slopes_BT[i, : len(row)]).sum()
    for mine, right in zip(ours, gradients(model, total), strict=True):
        torch.testing.assert_close(mine, right, atol=1e-3, rtol=1e-3)


def reward_model() -> ScalarModel:
    config = LlamaConfig(num_key_value_heads=1, num_labels=1, **ROPE)
    model = LlamaForSequenceClassification(config).eval()
    use_fast_kernels(model)
    return ScalarModel(model, Tokenizer())


@torch.no_grad()
def test_scores_and_values_are_those_of_each_row_alone() -> None:
    scalar = reward_model()
    assert scalar.padding_free
    rows, masks = rows_and_masks()
    batch = TokenBatch.from_sequences(rows, masks, 0)
    scores_B, values_BT = scalar.scores(batch), scalar.values(batch)
    for i, (row, mask) in enumerate(zip(rows, masks, strict=True)):
        alone = TokenBatch.from_sequences([row], [mask], 0)
        torch.testing.assert_close(scores_B[i], scalar.scores(alone)[0], atol=1e-5, rtol=1e-5)
        expected_T = scalar.values(alone)[0]
        torch.testing.assert_close(values_BT[i, : len(row)], expected_T, atol=1e-5, rtol=1e-5)
        assert not values_BT[i, len(row) :].any()


def test_no_layer_but_attention_sees_padding() -> None:
    scalar = reward_model()
    assert scalar.padding_free  # looked at before anybody counts
    seen: list[int] = []

    def count(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].numel() // 16)

    scalar.model.model.layers[0].mlp.register_forward_pre_hook(count)
    rows, masks = rows_and_masks()
    batch = TokenBatch.from_sequences(rows, masks, 0)
    scalar.scores(batch)
    scalar.values(batch)  # what follows a row's last token but one is not predicted
    read = [sum(map(len, rows)), sum(LENGTHS)]
    assert seen == [tokens + spare_tokens(tokens) for tokens in read]


def test_sizes_come_again_and_cost_little() -> None:
    """A processor compiles its products for every size that it has not seen."""
    sizes = {tokens + spare_tokens(tokens) for tokens in range(1025, 2049)}
    assert len(sizes) == 32
    assert all(0 <= spare_tokens(tokens) <= max(7, tokens / 32) for tokens in range(1, 5000))


def test_whether_it_can_is_seen_in_float32_whoever_asks_first() -> None:
    model = llama()
    use_fast_kernels(model)
    lm = CausalLM(model, Tokenizer(), torch.bfloat16)
    rows, masks = rows_and_masks()
    lm.logprobs(TokenBatch.from_sequences(rows, masks, 0))
    assert lm.padding_free


def test_compiled_blocks_are_given_padded_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each number of buckets would be compiled anew."""
    monkeypatch.setattr("instructgpt.models.compiled.require_compiler", lambda device: None)
    lm = CausalLM(llama(), Tokenizer())
    use_fast_kernels(lm.model)
    compile_models({"model": lm}, wanted=True)
    assert not lm.padding_free
    assert lm.passes.padded
