"""What stage `data` and `data clean` write, byte for byte, as when all records were in memory.

`tests/data/data_files.json` holds the SHA-256 of every file that commit da05162 wrote, the last one
that held all records in lists. Rewrite it only with a change that is meant to change results.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from instructgpt.cli.main import app
from instructgpt.pipeline.run import run_stage

KNOWN = Path(__file__).parents[2] / "data" / "data_files.json"
OWN_TO_A_RUN = {"manifest.json", "done.json", "timings.jsonl", "config.yaml", ".lock"}
WORDS = [*(f"w{i}" for i in range(300)), "猫", "狗", "3.14", "+"]
PERSONAL = ["a.lee@mail.org", "13812345678", "415-555-2671"]

STAGE: dict[str, list[str]] = {
    "default": [],
    "mask": ["hygiene.personal_data=mask", "hygiene.user_cap=5"],
    "keep": ["hygiene.similarity=none", "hygiene.prefix_words=none", "hygiene.personal_data=keep"],
    "loose": ["hygiene.similarity=0.4", "hygiene.prefix_words=4", "split_by=user"],
    "evaluation": [
        "hygiene.evaluation=[eval.jsonl]",
        "hygiene.evaluation_words=6",
        "split_by=prompt",
    ],
    "organization": ["hygiene.user_key=organization", "hygiene.user_cap=20", "seed=3"],
}
CLEAN: dict[str, list[str]] = {
    "default": [],
    "mask": ["--personal_data", "mask", "--user_cap", "4", "--evaluation", "eval.jsonl"],
}
REAL = {
    "demonstrations": [
        "sft_en/stanford_alpaca/alpaca_5000.json",
        "sft_zh/llamafactory/alpaca_zh_demo.json",
        "sft_en/fastchat/dummy_conversation.json",
    ],
    "rankings": [
        "pref/hh_rlhf/harmless-base/test.jsonl.gz",
        "pref/open_assistant/en_100_tree.jsonl",
        "pref/chatglm_efficient_tuning/oaast_rm_zh.json",
    ],
    "documents": ["pretrain_en/gutenberg/11-0.txt", "pretrain_en/llamafactory/c4_demo.jsonl"],
    "hygiene.evaluation": ["prompts/arena_hard/question.jsonl"],
}


def texts(draw: random.Random, count: int) -> list[str]:
    """Two in three are another one: as it is, with its last word changed, or cased anew."""
    made: list[str] = []
    for _ in range(count):
        kind = draw.randrange(9) if made else 0
        if kind == 1:
            text = draw.choice(made)
        elif kind == 2:
            text = f" {draw.choice(made).upper()}  "
        elif kind in (3, 4):
            text = " ".join([*draw.choice(made).split()[:-1], draw.choice(WORDS)])
        else:
            text = " ".join(draw.choices(WORDS, k=draw.randrange(1, 40)))
        if draw.random() < 0.02:
            text += f" {draw.choice(PERSONAL)}"
        made.append(text)
    return made


def rows(seed: int, count: int) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    made: list[dict[str, Any]] = []
    for text in texts(random.Random(1), count):  # the same prompts in every kind
        row: dict[str, Any] = {"prompt": text}
        if draw.random() < 0.7:
            row["user"] = f"u{draw.randrange(12) if draw.random() < 0.3 else draw.randrange(400)}"
        if draw.random() < 0.5:
            row["organization"] = f"o{draw.randrange(30)}"
        made.append(row)
    draw.shuffle(made)
    return made


def write(name: str, made: Iterable[dict[str, Any]]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in made]
    Path(name).write_text("".join(lines), encoding="utf-8")


def generate() -> list[str]:
    """Files of every kind in the present folder; as settings of the stage."""
    draw = random.Random(2)
    answers = ["yes", "no", "write to b.kim@mail.org", "w1 w2 w3 w4 w5 w6 w7"]
    answered = [{**row, "completion": draw.choice(answers)} for row in rows(3, 300)]
    ranked = [{**row, "chosen": "a", "rejected": draw.choice(["b", "c"])} for row in rows(4, 250)]
    write("d1.jsonl", answered[:200])
    write("d2.jsonl", [{"prompt": 3, "completion": "x"}, *answered[200:], *answered[:5]])
    write("r.jsonl", ranked)
    write("t.jsonl", [{"text": text} for text in texts(draw, 200)])
    write("eval.jsonl", [{"prompt": row["prompt"]} for row in rows(5, 300)[:12]])
    return ["demonstrations=[d1.jsonl, d2.jsonl]", "rankings=r.jsonl", "documents=t.jsonl"]


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name not in OWN_TO_A_RUN
    }


def check(case: str, made: dict[str, Any]) -> None:
    assert made == json.loads(KNOWN.read_text(encoding="utf-8"))[case]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # removals.jsonl holds the paths that were given


@pytest.mark.parametrize("case", STAGE)
def test_the_stage_writes_the_same_files(case: str) -> None:
    summary = run_stage("data", "out", flags=[*generate(), *STAGE[case]]).summary
    check(f"stage {case}", {**digests(Path("out")), "summary": summary})


def test_prompts_that_are_given_are_written_as_they_were() -> None:
    generate()
    write("p.jsonl", rows(6, 300))
    flags = ["prompts=p.jsonl", "demonstrations=d1.jsonl", "valid_fraction=0.3"]
    summary = run_stage("data", "out", flags=flags).summary
    check("stage prompts", {**digests(Path("out")), "summary": summary})


@pytest.mark.parametrize("case", CLEAN)
def test_the_verb_writes_the_same_files(case: str) -> None:
    generate()
    files = ["d1.jsonl", "r.jsonl", "t.jsonl"]
    command = ["data", "clean", *files, "--out", "out", *CLEAN[case]]
    assert CliRunner().invoke(app, command).exit_code == 0
    check(f"clean {case}", digests(Path("out")))


def test_the_stage_writes_the_same_of_real_files(real_data: Path) -> None:
    flags = []
    for setting, names in REAL.items():
        for name in names:
            shutil.copy(real_data / name, Path(name).name)
        flags.append(f"{setting}=[{', '.join(Path(name).name for name in names)}]")
    summary = run_stage("data", "out", flags=flags).summary
    check("stage real", {**digests(Path("out")), "summary": summary})
