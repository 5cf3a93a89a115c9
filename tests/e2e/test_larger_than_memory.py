"""Memory does not grow with the data: the whole command in a process of its own, by its peak."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import resource, sys
from instructgpt.cli.main import main
sys.argv[0] = "instructgpt"
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
UNIT = 1 if sys.platform == "darwin" else 1024
SMALL, LARGE = 1_000_000, 40_000_000
SHAPE = ["shape.layers=1", "shape.width=16", "shape.heads=1", "shape.context=256"]


def sentences(count: int) -> Iterator[str]:
    """Endless texts of `count` words out of 5000."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefgh", k=draw.randrange(2, 8))) for _ in range(5000)]
    while True:
        yield " ".join(draw.choices(words, k=count))


def documents() -> Iterator[dict[str, Any]]:
    for text in sentences(200):
        yield {"text": text}


def demonstrations() -> Iterator[dict[str, Any]]:
    """Of a thousand users; one in ten has the prompt of the one before, with another last word."""
    texts, draw, before = sentences(100), random.Random(1), ""
    for number, text in enumerate(texts):
        prompt = text if number % 10 else f"{before} {number}"
        before = text
        yield {"prompt": prompt, "completion": next(texts), "user": f"u{draw.randrange(1000)}"}


def write(path: Path, rows: Iterator[dict[str, Any]], size: int) -> Path:
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < size:
            file.write(json.dumps(next(rows)) + "\n")
    return path


def peak(*command: str | Path) -> int:
    """Bytes of resident memory of `instructgpt` with these words."""
    words = [sys.executable, "-c", PROGRAM, *map(str, command)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) * UNIT


def assert_flat(peaks: list[int]) -> None:
    assert peaks[1] - peaks[0] < LARGE / 4, peaks


@pytest.mark.slow
def test_pretraining_on_forty_times_the_text_takes_the_same_memory(tmp_path: Path) -> None:
    peaks = []
    for size in (SMALL, LARGE):
        path = write(tmp_path / f"{size}.jsonl", documents(), size)
        flags = [f"documents={path}", "vocab_size=400", "tokens=4096", *SHAPE]
        peaks.append(peak("pretrain", "--out", tmp_path / f"run-{size}", *flags))
    assert_flat(peaks)


@pytest.mark.slow
def test_forty_times_the_prompts_of_ppo_take_the_same_memory(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    text = write(tmp_path / "text.jsonl", documents(), SMALL)
    shape = [*SHAPE, "shape.context=512"]
    peak("pretrain", "--out", tmp_path / "base", f"documents={text}", "vocab_size=400", *shape)
    model = tmp_path / "base" / "model"
    reward_model = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1)
    reward_model.save_pretrained(tmp_path / "reward_model")
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path / "reward_model")
    flags = [f"model={model}", f"reward_model={tmp_path / 'reward_model'}", "ptx_coef=0"]
    flags += ["episodes=8", "batch_size=4", "minibatch_size=4", "sampling.max_new_tokens=4"]
    peaks = []
    for size in (SMALL, LARGE):
        asked = ({"prompt": prompt} for prompt in sentences(60))
        path = write(tmp_path / f"{size}.jsonl", asked, size)
        peaks.append(peak("ppo", "--out", tmp_path / f"run-{size}", f"prompts={path}", *flags))
    assert_flat(peaks)


@pytest.mark.slow
@pytest.mark.parametrize("personal_data", ["drop", "mask"])
def test_hygiene_and_split_of_forty_times_the_rows_take_the_same_memory(
    personal_data: str, tmp_path: Path
) -> None:
    peaks = []
    for size in (SMALL, LARGE):
        path = write(tmp_path / f"{size}.jsonl", demonstrations(), size)
        flags = [f"demonstrations={path}", f"hygiene.personal_data={personal_data}"]
        peaks.append(peak("data", "--out", tmp_path / f"run-{size}", *flags))
    assert_flat(peaks)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["clean", "inspect"])
def test_looking_through_forty_times_the_rows_takes_the_same_memory(
    verb: str, tmp_path: Path
) -> None:
    peaks = []
    for size in (SMALL, LARGE):
        path = write(tmp_path / f"{size}.jsonl", demonstrations(), size)
        out = ["--out", tmp_path / f"clean-{size}"] if verb == "clean" else []
        peaks.append(peak("data", verb, path, *out))
    assert_flat(peaks)
