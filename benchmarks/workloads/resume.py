"""Seconds from the start of a stopped SFT until its first new step is done; prints one JSON line.

The command is killed after its checkpoint at step 2 and started again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from models import add_model_arguments, gpt2_config
from transformers import GPT2LMHeadModel

from instructgpt.text.tokenizer import train_bpe

PATIENCE = 300.0  # seconds


def main() -> None:
    """Prepare, stop, go on."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_arguments(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_inputs(root, arguments)
        command = [sys.executable, "-m", "instructgpt", "sft", "--out", str(root / "run")]
        command += [f"model={root / 'model'}", f"demonstrations={root / 'rows.jsonl'}"]
        command += ["batch_size=8", "epochs=100", "checkpoint_every=2"]
        until_step(command, root / "run", 2)
        report = until_step(command, root / "run", 3)
    print(json.dumps({**report, "work": "resume"}))


def make_inputs(root: Path, arguments: argparse.Namespace) -> None:
    """A model of the benchmark's shape and 64 demonstrations."""
    tokenizer = train_bpe(["abcdefgh"], 262)
    tokenizer.save_pretrained(root / "model")
    config = gpt2_config(arguments)
    config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    GPT2LMHeadModel(config).save_pretrained(root / "model")
    rows = ({"prompt": "abcd" * 8, "completion": "efgh" * (1 + i % 8)} for i in range(64))
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def until_step(command: list[str], run: Path, step: int) -> dict[str, float]:
    """Start it, kill it once `step` is logged by this process; how long that took."""
    started, clock = time.time_ns(), time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _logged(run / "metrics.jsonl", step, since=started):
            if process.poll() is not None:
                sys.exit(f"ended with {process.returncode}: {' '.join(command)}")
            if time.perf_counter() - clock > PATIENCE:
                sys.exit(f"no step {step} in {PATIENCE:.0f} s: {' '.join(command)}")
            time.sleep(0.002)
        seconds = time.perf_counter() - clock
    finally:
        process.kill()
        _, _, usage = os.wait4(process.pid, 0)
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime}


def _logged(path: Path, step: int, since: int) -> bool:
    """Whether the last row is at least of `step`, in a file that was written after `since`."""
    if not path.exists() or path.stat().st_mtime_ns < since:
        return False
    rows = path.read_text().splitlines()
    return bool(rows) and json.loads(rows[-1])["step"] >= step


if __name__ == "__main__":
    main()
