"""`instructgpt data clean` as its user meets it, and that `data` is still the stage."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from instructgpt.cli.main import app

ASK = [
    {"instruction": "How do I cook rice at home?"},
    {"instruction": "how do i cook rice at home"},
    {"instruction": "Ring 13812345678 please"},
    {"instruction": "Name a bird."},
]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def write(name: str, rows: list[dict[str, Any]]) -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return name


def read(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_files_are_cleaned_and_the_removals_shown() -> None:
    pairs = write("pairs.jsonl", [{"prompt": "q", "chosen": "a", "rejected": "b"}])
    result = call("data", "clean", write("ask.jsonl", ASK), pairs, "--out", "out")
    assert result.exit_code == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines == [
        ["file", "records", "personal_data", "near_duplicate", "kept"],
        ["ask.jsonl", "4", "1", "1", "2"],
        ["pairs.jsonl", "1", "0", "0", "1"],
        ["removals", "out/removals.jsonl"],
    ]
    kept = [row["prompt"][0]["content"] for row in read("out/ask.jsonl")]
    assert kept == ["How do I cook rice at home?", "Name a bird."]
    assert read("out/pairs.jsonl")[0]["completions"] == ["a", "b"]
    removed = [(one["row"], one["reason"]) for one in read("out/removals.jsonl")]
    assert removed == [(3, "personal_data"), (2, "near_duplicate")]


def test_settings_are_those_of_the_recipe() -> None:
    file = write("ask.jsonl", ASK)
    settings = ["--personal-data", "mask", "similarity=none", "--prefix_words", "none"]
    assert call("data", "clean", file, "--out", "a", *settings).exit_code == 0
    texts = [row["prompt"][0]["content"] for row in read("a/ask.jsonl")]
    assert texts == [
        *(row["instruction"] for row in ASK[:2]),
        "Ring [phone] please",
        "Name a bird.",
    ]
    evaluation = write("eval.jsonl", [{"prompt": "name a bird"}])
    flags = ["--out", "b", "--evaluation", evaluation]
    assert call("data", "clean", file, *flags).exit_code == 0
    assert read("b/removals.jsonl")[0]["evidence"]["other"] == {"file": "eval.jsonl", "row": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.jsonl", "--out", "o"], "missing.jsonl: no such file"),
        (["ask.jsonl", "--out", "."], "give a new or empty folder as --out"),
        (["ask.jsonl", "--out", "o", "--user_cup", "3"], "did you mean 'user_cap'?"),
        (["ask.jsonl", "--out", "o", "--kind", "answers"], "not 'answers'"),
        (["user_cap=3", "ask.jsonl", "--out", "o"], "write the files before the settings"),
        (["ask.jsonl", "ask.json", "--out", "o"], "would both be written as ask.jsonl"),
        (["ask.jsonl", "--out", "o" * 300], "File name too long"),
        (["a" * 300 + ".jsonl", "--out", "o"], "cannot read: File name too long"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str) -> None:
    write("ask.jsonl", ASK)
    write("ask.json", [{"instruction": "Another question?"}])
    result = call("data", "clean", *arguments)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert message in result.stderr
    assert not Path("o").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('{"instruction": "a", "output": "b"}\n{"instruction": "c" "output": "d"}\n',
         "rows.jsonl:2: not JSON: Expecting ',' delimiter at column 21; mend the file, or leave "
         "such rows out with `instructgpt data convert --on-problem skip_broken`"),
        ("[1", "rows.jsonl:1: not JSON"),
        ('{"instruction": "", "output": "a"}\n',
         "rows.jsonl:1: empty 'instruction'; no row of 'rows.jsonl' can be used as demonstrations"),
        ('{"ask": "a"}\n', "rows.jsonl: rows of no known shape (found: ask); rename keys"),
    ],
)  # fmt: skip
def test_without_a_kind_the_row_is_named_and_not_a_kind_that_nobody_meant(
    rows: str, message: str
) -> None:
    """Every refusal read "holds prompts and demonstrations (format alpaca), not documents"."""
    Path("rows.jsonl").write_text(rows, encoding="utf-8")
    said = call("data", "clean", "rows.jsonl", "--out", "o")
    assert said.stderr.startswith(f"error: {message}")
    assert (said.exit_code, said.stderr.count("\n")) == (2, 1)


def test_a_full_disk_is_one_line() -> None:
    resource = pytest.importorskip("resource", reason="no limits on files here")
    write("ask.jsonl", [{"instruction": f"Ask {i}?"} for i in range(3000)])
    said = subprocess.run(
        [sys.executable, "-m", "instructgpt", "data", "clean", "ask.jsonl", "--out", "out"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (said.returncode, said.stderr.count("\n")) == (2, 1), said.stderr
    assert f"cannot write '{Path.cwd()}': File too large" in said.stderr
    assert [path.name for path in Path.cwd().iterdir()] == ["ask.jsonl"]


def test_data_without_a_verb_is_the_stage() -> None:
    file = write("ask.jsonl", [{"instruction": f"Ask {i}?"} for i in range(30)])
    result = call("data", "--out", "run", "--prompts", file, "valid_fraction=0.4")
    assert result.exit_code == 0, result.stderr
    assert len(read("run/prompts_train.jsonl")) + len(read("run/prompts_heldout.jsonl")) == 30
    assert "--hygiene.user_cap" in call("data", "--help").stdout
    assert "removals.jsonl" in call("data", "clean", "--help").stdout
