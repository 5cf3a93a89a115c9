"""A checkpoint whose tokenizer has to gain a pad token, as GPT-2's, predicts what it did before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from instructgpt.models.load import load_causal_lm

IDS = torch.tensor([[7, 8, 9, 10]])


@pytest.fixture
def gpt2(tmp_path: Path) -> Path:
    """Tied embeddings, one special token, and logits that are all far below zero."""
    vocabulary = {symbol: i for i, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    bpe = Tokenizer(models.BPE(vocab={**vocabulary, "<|endoftext|>": 256}, merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|endoftext|>").save_pretrained(
        tmp_path
    )
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=257, n_layer=1, n_embd=32, n_head=2, n_positions=32)
    )
    with torch.no_grad():
        model.transformer.ln_f.bias[0] = 40.0
        model.transformer.wte.weight[:, 0] = -1.0
    model.save_pretrained(tmp_path)
    return tmp_path


@torch.no_grad()
def test_the_new_token_is_not_the_likeliest(gpt2: Path) -> None:
    """Its row was zero: logit 0 among logits of -40, so that it had all the probability."""
    plain = AutoModelForCausalLM.from_pretrained(gpt2).eval()
    lm = load_causal_lm(gpt2, device="cpu", dtype="float32")
    assert lm.tokenizer.pad_token == "<|pad|>"
    before = plain(IDS).logits.log_softmax(-1)
    assert plain(IDS).logits.max() < -30
    after = lm.model(IDS).logits.log_softmax(-1)
    assert after.shape[-1] == 258
    # one more token beside 257, about as likely as their average
    torch.testing.assert_close(after[..., :257], before, atol=0.02, rtol=0)
    assert after[..., 257].exp().max() < 2 / 257
