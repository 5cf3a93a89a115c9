"""Sampling at about 1B parameters in bfloat16 on a GPU; prints one JSON line per number of rows.

Prompts of 128 tokens, 256 new ones each, temperature 1, no ends. --engine ours, eager (ours without
recorded steps), generate, or static (generate with a static cache, which compiles). Everything runs
before it is measured: ours twice, because the second use of a size records it.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable

import torch
from gpu_models import llama, synchronize
from measure import peak_mib
from token_ids import FIRST_WORD, PAD
from transformers import LlamaForCausalLM

from instructgpt.rollout.engine import Engine
from instructgpt.rollout.types import SamplingParams

PROMPT = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=["ours", "eager", "generate", "static"], default="ours")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--response", type=int, default=256)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    model = llama(torch.bfloat16, arguments.tiny).eval()
    model.generation_config.eos_token_id = None
    for rows in arguments.rows:
        rng = random.Random(rows)
        vocabulary = model.config.vocab_size
        prompts = [
            [rng.randrange(FIRST_WORD, vocabulary) for _ in range(PROMPT)] for _ in range(rows)
        ]
        if arguments.engine in ("ours", "eager"):
            found = _ours(model, prompts, arguments)
        else:
            found = _generate(model, prompts, arguments)
        print(json.dumps({"rows": rows, **found, "peak_mib": peak_mib()}), flush=True)


def _ours(
    model: LlamaForCausalLM, prompts: list[list[int]], arguments: argparse.Namespace
) -> dict[str, float]:
    engine = Engine(model, [], PAD, max_slots=len(prompts))
    if arguments.engine == "eager":
        engine._slots.recording = False
    params = SamplingParams(max_new_tokens=arguments.response)
    for _ in range(3):
        seconds = _seconds(lambda: engine.generate(prompts, params))
    if arguments.profile:
        _print_kernels(lambda: engine.generate(prompts, SamplingParams(max_new_tokens=65)))
    steps = engine.stats.decode_row_steps / len(prompts)
    step_seconds = engine.stats.decode_seconds / steps
    return {
        "tokens_per_s": engine.stats.generated_tokens / seconds,
        "step_ms": 1e3 * step_seconds,
        "gb_per_s": _step_bytes(model, len(prompts), arguments.response) / step_seconds / 1e9,
        "prefill_s": engine.stats.prefill_seconds,
        "seconds": seconds,
    }


def _generate(
    model: LlamaForCausalLM, prompts: list[list[int]], arguments: argparse.Namespace
) -> dict[str, float]:
    ids = torch.tensor(prompts, device=model.device)
    settings = {
        "max_new_tokens": arguments.response,
        "do_sample": True,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "pad_token_id": PAD,
    }
    if arguments.engine == "static":
        settings["cache_implementation"] = "static"
    mask = torch.ones_like(ids)
    with torch.inference_mode():
        warm = {**settings, "max_new_tokens": 8} if arguments.engine == "generate" else settings
        model.generate(ids, attention_mask=mask, **warm)
        seconds = _seconds(lambda: model.generate(ids, attention_mask=mask, **settings))
    count = len(prompts) * arguments.response
    return {"tokens_per_s": count / seconds, "seconds": seconds}


def _seconds(run: Callable[[], object]) -> float:
    synchronize()
    started = time.perf_counter()
    run()
    synchronize()
    return time.perf_counter() - started


def _step_bytes(model: LlamaForCausalLM, rows: int, response: int) -> float:
    """What an average step must read: every weight once, and the rows' own keys and values."""
    config = model.config
    weights = sum(p.nbytes for p in model.parameters())
    position = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 2
    return weights + rows * (PROMPT + response / 2) * position


def _print_kernels(run: Callable[[], object]) -> None:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as recording:
        run()
        synchronize()
    table = recording.key_averages().table(
        sort_by="self_cuda_time_total", row_limit=20, max_name_column_width=90
    )
    for line in table.splitlines():
        print(line[:92], " ".join(line.split()[-8:]))


if __name__ == "__main__":
    main()
