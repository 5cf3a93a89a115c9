"""docs/your-own-data-and-model.md, word for word but for the sizes, on small files of its kind."""

from __future__ import annotations

import gzip
import json
import random
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, GPT2LMHeadModel
from typer.testing import CliRunner

from instructgpt.cli.main import app

SMALLER = {
    "--tokens 100000": "--tokens 4096",
    "--shape.width 128": "--shape.width 32",
    "--episodes 128": "--episodes 32",
    "--num_prompts 40": "--num_prompts 4",
}
WAITS = ("chat", "serve")
"""Verbs that go on until somebody ends them; their flags are checked with all others."""


def sentences(seed: int) -> Iterator[str]:
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefghij", k=draw.randrange(2, 7))) for _ in range(300)]
    while True:
        yield " ".join(draw.choices(words, k=draw.randrange(4, 12))) + "."


def write_files(folder: Path) -> None:
    folder.mkdir()
    said = sentences(0)
    (folder / "text.txt").write_text("\n\n".join(next(said) for _ in range(300)), encoding="utf-8")
    rows = [{"instruction": next(said), "input": "", "output": next(said)} for _ in range(60)]
    (folder / "alpaca.json").write_text(json.dumps(rows), encoding="utf-8")
    with gzip.open(folder / "hh.jsonl.gz", "wt", encoding="utf-8") as file:
        for _ in range(60):
            start = f"\n\nHuman: {next(said)}\n\nAssistant: "
            row = {"chosen": start + next(said), "rejected": start + next(said)}
            file.write(json.dumps(row) + "\n")


def smaller(command: str) -> str:
    for large, small in SMALLER.items():
        command = command.replace(large, small)
    return command


def test_the_walk_through_can_be_walked(docs, tmp_path, monkeypatch):
    page = docs.page("docs/your-own-data-and-model.md")
    commands = [
        line.removeprefix("instructgpt ")
        for language, code in page.blocks
        if language == "bash"
        for line in code.splitlines()
        if line.startswith("instructgpt ")
    ]
    for large in SMALLER:
        assert any(large in command for command in commands), large
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path / "mine")
    said = {}
    for command in commands:
        verb, *arguments = shlex.split(smaller(command))
        if verb not in WAITS:
            result = CliRunner().invoke(app, [verb, *arguments])
            assert result.exit_code == 0, f"{command}\n{result.output}\n{result.exception}"
            said[command] = result.output
    shown = {name for language, code in page.blocks if language == "text" for name in first(code)}
    assert shown <= {name for output in said.values() for name in first(output)}
    assert isinstance(AutoModelForCausalLM.from_pretrained("exports/mine"), GPT2LMHeadModel)
    assert "win" in (tmp_path / "runs/mine/report/report.html").read_text(encoding="utf-8")


def first(output: str) -> set[str]:
    """The words that lines begin with: names of stages, of facts, of models."""
    return {found[1] for line in output.splitlines() if (found := re.match(r" *(\w+) ", line))}


@pytest.mark.parametrize("verb", WAITS)
def test_what_waits_for_somebody_is_named_in_the_page(docs, verb):
    page = docs.page("docs/your-own-data-and-model.md")
    assert any(f"instructgpt {verb} exports/mine" in code for _, code in page.blocks)
