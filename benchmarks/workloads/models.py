"""The synthetic models and prompts of the benchmarks: the same numbers for us and for the peers."""

from __future__ import annotations

import argparse
import math
import os
import random
import resource
import sys
import time
from typing import Any

import torch
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

PAD, EOS, FIRST_WORD = 0, 2, 4


class Tokenizer:
    """All that the trainers ask of one; the prompts are token ids already."""

    pad_token_id = PAD
    eos_token_id = EOS


def word_tokenizer(vocab: int, padding_side: str = "right") -> PreTrainedTokenizerFast:
    """One token per word, "t17" is id 17: for peers that only take text."""
    words = FastTokenizer(WordLevel({f"t{i}": i for i in range(vocab)}, unk_token="t3"))
    words.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token=f"t{PAD}",
        bos_token="t1",
        eos_token=f"t{EOS}",
        padding_side=padding_side,
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """--layers, --width, --vocab: 4 x 256 is 4.3M parameters, 12 x 768 with 50257 is GPT-2.

    --threads: processor threads of torch, all cores by default.
    """
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--vocab", type=int, default=4096)


def gpt2_config(arguments: argparse.Namespace, **extra: Any) -> GPT2Config:
    return GPT2Config(
        n_layer=arguments.layers,
        n_embd=arguments.width,
        n_head=arguments.width // 64,
        vocab_size=arguments.vocab,
        n_positions=256,
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
    return GPT2ForSequenceClassification(gpt2_config(arguments, num_labels=1))


def random_prompts(count: int, vocab: int, shortest: int = 8, longest: int = 64) -> list[list[int]]:
    rng = random.Random(0)
    return [
        [rng.randrange(FIRST_WORD, vocab) for _ in range(rng.randint(shortest, longest))]
        for _ in range(count)
    ]


class Stopwatch:
    """Seconds and processor seconds (of all threads) since it was made, and rates in both."""

    def __init__(self) -> None:
        self._seconds, self._cpu_seconds = time.perf_counter(), time.process_time()

    def rates(self, **done: float) -> dict[str, float]:
        """For `episodes=64`: episodes_per_s, episodes_per_cpu_s, seconds, cpu_seconds."""
        seconds = time.perf_counter() - self._seconds
        cpu_seconds = time.process_time() - self._cpu_seconds
        found = {"seconds": seconds, "cpu_seconds": cpu_seconds}
        for name, count in done.items():
            found |= {f"{name}_per_s": count / seconds, f"{name}_per_cpu_s": count / cpu_seconds}
        return {name: float(f"{value:.5g}") for name, value in found.items()}


def millions(model: nn.Module) -> float:
    return round(sum(p.numel() for p in model.parameters()) / 1e6, 2)


def peak_mib() -> float:
    """The most memory that this process has held: of the GPU where there is one."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20)
    high = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(high / (2**20 if sys.platform == "darwin" else 2**10))
