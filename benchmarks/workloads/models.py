"""The synthetic models of the benchmarks: the same for us and for the peers."""

from __future__ import annotations

import argparse
import math
import os
from typing import Any

import torch
from token_ids import EOS, PAD
from tokenizers import Tokenizer as FastTokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import nn
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)


class Tokenizer:
    """All that our trainers ask of one; the prompts are token ids already."""

    pad_token_id = PAD
    eos_token_id = EOS


def word_tokenizer(vocab: int, padding_side: str = "right") -> PreTrainedTokenizerFast:
    """One token per word: for peers, which want a tokenizer or text."""
    words = FastTokenizer(WordLevel({word(i): i for i in range(vocab)}, unk_token=word(3)))
    words.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token=word(PAD),
        bos_token=word(1),
        eos_token=word(EOS),
        padding_side=padding_side,
    )


def word(token: int) -> str:
    """A token as text. Closed by a bracket: "t2", the end, would be found inside "t25"."""
    return f"<{token}>"


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """--layers, --width, --vocab: 4 x 256 is 4.3M parameters, 12 x 768 with 50257 is GPT-2.

    --threads: processor threads of torch, all cores by default.
    """
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--context", type=int, default=256)


def begin(arguments: argparse.Namespace) -> None:
    """The same seed and threads on both sides."""
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)


def gpt2_config(arguments: argparse.Namespace, **extra: Any) -> GPT2Config:
    """Without dropout, which PPO must not have and which is not what is compared elsewhere."""
    return GPT2Config(
        n_layer=arguments.layers,
        n_embd=arguments.width,
        n_head=arguments.width // 64,
        vocab_size=arguments.vocab,
        n_positions=arguments.context,
        bos_token_id=1,
        eos_token_id=EOS,
        pad_token_id=PAD,
        resid_pdrop=0.0,
        attn_pdrop=0.0,
        embd_pdrop=0.0,
        **extra,
    )


def language_model(arguments: argparse.Namespace, eos: float = 0.0) -> GPT2LMHeadModel:
    """Random weights. eos: the chance of the end token at every position, 0 for hardly ever.

    A constant logit for it, through the bias of the last norm: completions end after 1 / eos
    tokens on average, as real ones end early.
    """
    model = GPT2LMHeadModel(gpt2_config(arguments))
    if eos:
        with torch.no_grad():
            direction = torch.randn(arguments.width)
            direction *= 10 / direction.norm()
            model.transformer.ln_f.bias.copy_(direction)
            logit = math.log(eos / (1 - eos) * arguments.vocab)
            model.lm_head.weight[EOS] = direction / 100 * logit
    return model


def scalar_model(arguments: argparse.Namespace) -> GPT2ForSequenceClassification:
    """Random weights, one number per sequence."""
    return GPT2ForSequenceClassification(gpt2_config(arguments, num_labels=1))


def millions(model: nn.Module) -> float:
    """Parameters."""
    return round(sum(p.numel() for p in model.parameters()) / 1e6, 2)
