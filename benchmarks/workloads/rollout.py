"""Generated tokens per second on mixed lengths; prints one JSON line.

--engine ours, generate (batches of 64, sorted by prompt length, left-padded) or continuous
(transformers' continuous batching with a cache of fixed size). Every request is read once before
the clock starts, so that nobody pays for first uses.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import token_ids
import torch
from measure import Stopwatch, report
from models import add_model_arguments, begin, language_model, millions
from token_ids import EOS, PAD
from transformers import GenerationConfig, GPT2LMHeadModel

Sampler = Callable[[list[list[int]]], int]
"""Prompts in, number of generated tokens out."""


def main() -> None:
    """Answer --requests prompts --samples times each."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_arguments(parser)
    parser.add_argument("--engine", choices=["ours", "generate", "continuous"], default="ours")
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--response", type=int, default=64)
    parser.add_argument("--eos", type=float, default=0.04)
    arguments = parser.parse_args()
    begin(arguments)
    model = language_model(arguments, arguments.eos).eval()
    if torch.cuda.is_available():
        model.cuda()
    prompts = token_ids.prompts(arguments.requests, arguments.vocab)
    sample = {"ours": _ours, "generate": _generate, "continuous": _continuous}[arguments.engine](
        model, arguments
    )
    sample(prompts[:4])
    watch = Stopwatch()
    tokens = sample(prompts)
    report(
        **watch.rates(tokens=tokens),
        tokens=tokens,
        params_m=millions(model),
        work=token_ids.fingerprint(prompts),
    )


def _ours(model: GPT2LMHeadModel, arguments: argparse.Namespace) -> Sampler:
    from instructgpt.rollout.engine import Engine
    from instructgpt.rollout.types import SamplingParams

    engine = Engine(model, [EOS], PAD, max_slots=128)
    params = SamplingParams(max_new_tokens=arguments.response)

    def sample(prompts: list[list[int]]) -> int:
        groups = engine.generate(prompts, params, n=arguments.samples)
        return sum(len(rollout.completion_ids) for group in groups for rollout in group)

    return sample


def _settings(arguments: argparse.Namespace) -> dict:
    return {
        "max_new_tokens": arguments.response,
        "do_sample": True,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
    }


def _generate(model: GPT2LMHeadModel, arguments: argparse.Namespace) -> Sampler:
    @torch.inference_mode()
    def sample(prompts: list[list[int]]) -> int:
        repeated = sorted([p for p in prompts for _ in range(arguments.samples)], key=len)
        tokens = 0
        for start in range(0, len(repeated), 64):
            batch = repeated[start : start + 64]
            width = len(batch[-1])
            ids = torch.tensor([[PAD] * (width - len(p)) + p for p in batch], device=model.device)
            mask = torch.tensor(
                [[0] * (width - len(p)) + [1] * len(p) for p in batch], device=model.device
            )
            out = model.generate(ids, attention_mask=mask, **_settings(arguments))
            ended = (out[:, width:] == EOS).int()
            # the tokens up to and including the first end
            tokens += int((ended.cumsum(1) - ended == 0).sum())
        return tokens

    return sample


def _continuous(model: GPT2LMHeadModel, arguments: argparse.Namespace) -> Sampler:
    from transformers import ContinuousBatchingConfig

    # the fastest of six sizes tried; with 1,024 blocks and tokens it is half as fast on a CPU
    cache = ContinuousBatchingConfig(num_blocks=256, max_batch_tokens=256)
    settings = GenerationConfig(**_settings(arguments))

    def sample(prompts: list[list[int]]) -> int:
        repeated = [p for p in prompts for _ in range(arguments.samples)]
        found = model.generate_batch(
            inputs=repeated,
            generation_config=settings,
            continuous_batching_config=cache,
            progress_bar=False,
        )
        return sum(len(request.generated_tokens) for request in found.values())

    return sample


if __name__ == "__main__":
    main()
