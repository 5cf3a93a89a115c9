"""Our SFT at about 1B parameters on a GPU; prints one JSON line.

float32 weights and AdamW states, bfloat16 products; rows of 128 to 1,024 random tokens, of which
the first quarter is the prompt; 64 rows a step. The first steps are not counted.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from itertools import pairwise

import torch
from gpu_models import block_weights, llama, synchronize
from measure import peak_mib
from models import Tokenizer, millions
from sft import make_trainer
from token_ids import FIRST_WORD
from torch.profiler import ProfilerActivity, profile

from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.compiled import compile_models
from instructgpt.models.kernels import use_fast_kernels
from instructgpt.storage.token_store import TokenSequence
from instructgpt.training.sft import SFTTrainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--warm", type=int, default=3, help="steps before the clock starts")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--longest", type=int, default=1024)
    parser.add_argument("--tokens-per-microbatch", type=int, default=16384)
    parser.add_argument("--checkpointing", action="store_true", help="of activations")
    parser.add_argument("--compile", action="store_true", help="the blocks")
    parser.add_argument("--profile", action="store_true", help="print the kernels of one step")
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    lm = CausalLM(llama(torch.float32, arguments.tiny), Tokenizer(), torch.bfloat16)
    use_fast_kernels(lm.model)
    if arguments.checkpointing:
        lm.model.gradient_checkpointing_enable()
    compile_models({"model": lm}, arguments.compile)
    vocabulary = lm.model.config.vocab_size
    rows = _demonstrations(
        arguments.batch * (arguments.warm + arguments.steps), vocabulary, arguments.longest
    )
    trainer = make_trainer(arguments, lm, rows)
    started = time.perf_counter()
    for step in range(arguments.warm):
        trainer.step(step)
    synchronize()
    warm = time.perf_counter() - started
    started = time.perf_counter()
    counted = range(arguments.warm, arguments.warm + arguments.steps)
    marks = [started]
    allocations = _device_allocations()
    for step in counted:
        trainer.step(step)
        marks.append(time.perf_counter())  # a step ends with numbers on the host
    synchronize()
    seconds = time.perf_counter() - started
    allocations = _device_allocations() - allocations
    if arguments.profile:
        _print_kernels(trainer)
    used = trainer.stream.indices(
        arguments.warm * arguments.batch, arguments.steps * arguments.batch
    )
    flops = _flops(lm, [rows[i] for i in used])
    print(
        json.dumps(
            {
                "tokens_per_s": sum(len(rows[i][0]) for i in used) / seconds,
                "useful_tflops": flops / seconds / 1e12,
                "seconds": seconds,
                "step_seconds": [round(b - a, 4) for a, b in pairwise(marks)],
                "device_allocations": allocations,
                "warm_up_seconds": warm,
                "params_m": millions(lm.model),
                "peak_mib": peak_mib(),
            }
        )
    )


def _demonstrations(count: int, vocabulary: int, longest: int) -> list[TokenSequence]:
    rng = random.Random(0)
    rows = []
    for _ in range(count):
        length = rng.randint(longest // 8, longest)
        ids = [rng.randrange(FIRST_WORD, vocabulary) for _ in range(length)]
        prompt = length // 4
        rows.append((ids, [False] * prompt + [True] * (length - prompt)))
    return rows


def _flops(lm: CausalLM, rows: list[TokenSequence]) -> float:
    """What the work needs, forward and backward, whatever is recomputed.

    6 per weight and token in the blocks, 6 per weight of the output layer where a loss reads it,
    and causal attention: half of the full square, 6 x layers x width x length^2.
    """
    config = lm.model.config
    width = config.num_attention_heads * config.head_dim
    tokens = sum(len(ids) for ids, _ in rows)
    predicted = sum(sum(mask) for _, mask in rows)
    squares = sum(len(ids) ** 2 for ids, _ in rows)
    return 6.0 * (
        block_weights(lm.model) * tokens
        + config.vocab_size * config.hidden_size * predicted
        + config.num_hidden_layers * width * squares
    )


def _device_allocations() -> int:
    if not torch.cuda.is_available():
        return 0
    return int(torch.cuda.memory_stats()["num_device_alloc"])


def _print_kernels(trainer: SFTTrainer) -> None:
    activity = ProfilerActivity.CUDA if torch.cuda.is_available() else ProfilerActivity.CPU
    with profile(activities=[activity], acc_events=True) as recording:
        trainer.step(0)
        synchronize()
    key = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    table = recording.key_averages().table(sort_by=key, row_limit=24, max_name_column_width=90)
    for line in table.splitlines():
        print(line[:92], " ".join(line.split()[-8:]))


if __name__ == "__main__":
    main()
