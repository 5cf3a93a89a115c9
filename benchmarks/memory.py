"""Estimated against measured memory: every training stage, all weights and LoRA, two sizes.

    python benchmarks/memory.py [--only 124M] [--dtype bfloat16] [--tokens 1024]

Each stage is the real command in a process of its own, two optimizer steps on GPT-2 architectures
with random weights, 256 tokens a row. The peak is what the operating system says of the finished
process (resident memory; on a GPU what the stage recorded); the estimate is what the stage printed
before it began.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from environments import OURS
from results import save
from transformers import GPT2Config, GPT2LMHeadModel

from instructgpt.text.tokenizer import train_bpe

SIZES = {
    "25M": {"n_layer": 8, "n_embd": 320, "n_head": 5},
    "124M": {"n_layer": 12, "n_embd": 768, "n_head": 12},
}
STAGES = ("sft", "reward_model", "dpo", "ppo")
ADAPTERS = ("none", "lora")
GIB = 2**30
ROW = 256
STEPS = 2


def main() -> None:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="run the cases whose name contains this")
    parser.add_argument("--dtype", default="auto", help="auto, float32 or bfloat16")
    parser.add_argument("--tokens", type=int, default=1024, help="of a microbatch")
    arguments = parser.parse_args()
    cases = wanted_cases(arguments.only)
    if not cases:
        sys.exit(f"no case contains '{arguments.only}': they are called SIZE STAGE none|lora")
    rows = []
    print("| size | stage | trained | estimate GiB | peak GiB | estimate / peak | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for size, stage, adapter in cases:
            if not (root / size).exists():
                make_inputs(root / size, size, rows=arguments.tokens // ROW * STEPS)
            row = measure(root / size, stage, adapter, arguments)
            rows.append({"workload": f"{size} {stage} {adapter}", **row})
            print(line(rows[-1]), flush=True)
    settings = {"dtype": arguments.dtype, "tokens": arguments.tokens}
    blank = {"metric": "peak_mib", "peer": None, "peer_name": None, "arguments": settings}
    save("memory", [{**blank, "ours": round(row["peak"] / 2**20), **row} for row in rows])


def wanted_cases(only: str) -> list[tuple[str, str, str]]:
    """Size, stage and adapter of each; PPO comes with the reward model that it needs."""
    cases = []
    for size, adapter in itertools.product(SIZES, ADAPTERS):
        stages = [stage for stage in STAGES if only in f"{size} {stage} {adapter}"]
        if "ppo" in stages and "reward_model" not in stages:
            stages.insert(0, "reward_model")
        cases += [(size, stage, adapter) for stage in stages]
    return cases


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    estimate, peak = row["estimate"] / GIB, row["peak"] / GIB
    numbers = [f"{estimate:.2f}", f"{peak:.2f}", f"{estimate / peak:.2f}", f"{row['seconds']:.0f}"]
    cells = [*row["workload"].split(), *numbers]
    return f"| {' | '.join(cells)} |"


def measure(root: Path, stage: str, adapter: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one stage; its estimate and peak in bytes, and its seconds."""
    out = root / f"{stage}-{adapter}"
    command = [str(OURS), "-m", "instructgpt", stage.replace("_", "-"), "--out", str(out)]
    settings = {
        "adapter.type": adapter,
        "hardware.dtype": arguments.dtype,
        "hardware.tokens_per_microbatch": arguments.tokens,
        **stage_settings(root, stage, adapter, rows=arguments.tokens // ROW),
    }
    command += [f"{key}={value}" for key, value in settings.items()]
    started = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}\n{said[-3000:]}")
    manifest = json.loads((out / "manifest.json").read_text())["environment"]
    memory = manifest["memory"]
    resident = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "estimate": sum(memory["estimate"].values()),
        "peak": memory["peak"] if torch.cuda.is_available() else resident,
        "seconds": time.perf_counter() - started,
        "parts": memory["estimate"],
        "recorded_peak": memory["peak"],
    }


def stage_settings(root: Path, stage: str, adapter: str, rows: int) -> dict[str, Any]:
    """Two steps of one full microbatch each; a ranking has two completions, so half as many."""
    model = {"model": root / "model"}
    if stage == "sft":
        data = {"demonstrations": root / "demonstrations.jsonl", "epochs": 1}
        return {**model, **data, "batch_size": rows}
    if stage == "reward_model":
        rankings = root / "rankings.jsonl"
        data = {"rankings": rankings, "rankings_heldout": rankings, "epochs": 1}
        return {**model, **data, "batch_size": rows // 2}
    if stage == "dpo":
        return {**model, "rankings": root / "rankings.jsonl", "batch_size": rows // 2}
    return {
        **model,
        "reward_model": root / f"reward_model-{adapter}" / "model",
        "prompts": root / "prompts.jsonl",
        "episodes": rows * STEPS,
        "batch_size": rows,
        "minibatch_size": rows,
        "sampling.max_new_tokens": ROW // 2,
        "missing_eos": "none",
    }


def make_inputs(root: Path, size: str, rows: int) -> None:
    """A policy with GPT-2's 50,257 embeddings and a byte tokenizer, and rows of 256 tokens."""
    root.mkdir()
    tokenizer = train_bpe(["abcdefgh"], 262)
    tokenizer.save_pretrained(root / "model")
    ids = {f"{n}_token_id": getattr(tokenizer, f"{n}_token_id") for n in ("pad", "eos")}
    shape = {"vocab_size": 50257, "n_positions": ROW + 16, **SIZES[size]}
    config = GPT2Config(bos_token_id=None, **ids, **shape)
    torch.manual_seed(0)
    GPT2LMHeadModel(config).save_pretrained(root / "model")
    turns = 4  # <|user|>, <|end|>, <|assistant|>, <|end|>
    half = (ROW - turns) // 2
    questions = [f"{i:x}".ljust(half - 1, "a") for i in range(rows)]
    prompts = [{"prompt": [{"role": "user", "content": question}]} for question in questions]
    files = {
        "prompts": prompts,
        "demonstrations": [{**p, "completion": "b" * half} for p in prompts],
        "rankings": [
            {**p, "completions": ["b" * half, "c" * half], "ranks": [1, 2]}
            for p in prompts[: rows // 2]
        ],
    }
    for name, records in files.items():
        text = "".join(json.dumps(record) + "\n" for record in records)
        (root / f"{name}.jsonl").write_text(text)


if __name__ == "__main__":
    main()
