"""No tensor of batch x positions x vocabulary: every tensor that torch makes is looked at."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import GPT2Config, GPT2LMHeadModel

from instructgpt.models import causal_lm
from instructgpt.models.batch import TokenBatch
from instructgpt.models.causal_lm import CausalLM
from instructgpt.rollout.engine import Engine
from instructgpt.rollout.types import SamplingParams

VOCABULARY = 50257
ROWS, POSITIONS, WIDTH = 8, 24, 16
LIMIT = 1 << 20
"""Logits that may live at once here; 64 times as many outside of tests."""


def strided(tree: object) -> list[torch.Tensor]:
    tensors = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
    return [tensor for tensor in tensors if tensor.layout == torch.strided]


class LargestTensor(TorchDispatchMode):
    """The most elements of any tensor that an operation makes, forward or backward.

    Neither of views, nor of weights in the layout of their kernel, which are no logits.
    """

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        made = {tensor.data_ptr(): tensor.numel() for tensor in strided(out)}
        given = {tensor.data_ptr() for tensor in strided((args, kwargs))}
        self.elements = max([self.elements, *(made[new] for new in made.keys() - given)])
        return out


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=WIDTH,
        n_layer=1,
        n_head=2,
        n_positions=64,
        bos_token_id=None,
        eos_token_id=1,
    )
    return GPT2LMHeadModel(config).eval()


class Tokenizer:
    pad_token_id, eos_token_id = 0, 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("entropy", [False, True])
def test_a_training_step_holds_a_piece_of_the_logits(model, monkeypatch, dtype, entropy):
    """192 tokens x 50,257 are 9.6 M logits, ten times the limit; the output layer has 0.8 M."""
    monkeypatch.setattr(causal_lm, "_MAX_LOGITS", LIMIT)
    lm = CausalLM(model, Tokenizer(), dtype)
    ids = [[2 + (row * POSITIONS + t) % 999 for t in range(POSITIONS)] for row in range(ROWS)]
    mask = [[False, *[True] * (POSITIONS - 1)]] * ROWS
    batch = TokenBatch.from_sequences(ids, mask, pad_id=0)
    with LargestTensor() as largest:
        if entropy:
            logprobs_BT, _ = lm.logprobs_and_entropy(batch)
        else:
            logprobs_BT = lm.logprobs(batch)
        logprobs_BT.sum().backward()
    assert VOCABULARY * WIDTH <= largest.elements <= LIMIT


def test_a_rollout_holds_the_logits_of_one_position(model):
    """K = 2 completions of 4 prompts of 24 tokens: 8 rows of logits, not 96 or more.

    The search for the token pads a row to blocks of 128, 393 of them here.
    """
    engine = Engine(model, [1], pad_id=0)
    prompts = [[2 + row, *range(10, 9 + POSITIONS)] for row in range(4)]
    engine.warm_up()
    with LargestTensor() as largest:
        engine.generate(prompts, SamplingParams(max_new_tokens=4), n=2)
    assert VOCABULARY <= largest.elements <= 393 * 128 * 8


def test_the_meter_sees_what_it_is_for(model):
    """The plain loss makes the tensor that must not exist, and is caught."""
    ids_BT = torch.zeros(ROWS, POSITIONS, dtype=torch.int64)
    with LargestTensor() as largest:
        model(ids_BT, labels=ids_BT).loss.backward()
    assert largest.elements >= ROWS * (POSITIONS - 1) * VOCABULARY
