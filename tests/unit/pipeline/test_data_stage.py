"""Stage `data`: nothing held out is trained on, and odd rows are counted and named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from instructgpt.errors import ConfigError, DataError
from instructgpt.pipeline.run import run_stage


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def questions(rows: list[dict[str, Any]]) -> set[str]:
    return {row["prompt"][-1]["content"] for row in rows}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """40 questions; each has a demonstration, and every second one a ranking too."""
    alpaca = [{"instruction": f"Question {i}?", "output": f"Answer {i}."} for i in range(40)]
    alpaca.insert(5, {"instruction": "Broken", "output": ""})
    pairs = [
        {"prompt": f"Question {i}?", "chosen": f"Good {i}", "rejected": f"Bad {i}"}
        for i in range(0, 40, 2)
    ]
    texts = [{"text": f"Document number {i}."} for i in range(30)]
    return {
        "demonstrations": write(tmp_path / "alpaca.jsonl", alpaca),
        "rankings": write(tmp_path / "pairs.jsonl", pairs),
        "documents": write(tmp_path / "texts.jsonl", texts),
    }


def flags(files: dict[str, str], *more: str) -> list[str]:
    return [*(f"{kind}={path}" for kind, path in files.items()), "valid_fraction=0.3", *more]


def test_a_prompt_is_held_out_from_every_kind_or_from_none(
    files: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    summary = run_stage("data", out, flags=flags(files)).summary
    sides = {
        name: questions(read(out / f"{name}.jsonl"))
        for name in ("demonstrations", "demonstrations_valid", "rankings", "rankings_heldout")
    }
    trained = sides["demonstrations"] | sides["rankings"]
    held_out = sides["demonstrations_valid"] | sides["rankings_heldout"]
    assert not trained & held_out
    assert trained | held_out == {f"Question {i}?" for i in range(40)}
    assert sides["rankings"]
    assert sides["rankings_heldout"]
    # without prompts of their own, the prompts are those of both kinds, once each
    assert questions(read(out / "prompts_train.jsonl")) == trained
    assert questions(read(out / "prompts_heldout.jsonl")) == held_out
    assert summary["prompts_train"] + summary["prompts_heldout"] == 40
    assert summary["demonstrations"] + summary["demonstrations_valid"] == 40
    assert summary["rankings"] + summary["rankings_heldout"] == 20
    assert summary["documents"] + summary["documents_heldout"] == 30
    documents = {row["text"] for row in read(out / "documents.jsonl")}
    assert not documents & {row["text"] for row in read(out / "documents_heldout.jsonl")}


def test_odd_rows_are_counted_and_named_or_stop_the_stage(
    files: dict[str, str], tmp_path: Path
) -> None:
    outcome = run_stage("data", tmp_path / "out", flags=flags(files))
    assert outcome.summary["problems"] == 1
    problem = read(tmp_path / "out" / "problems.jsonl")[0]
    assert problem == {"file": files["demonstrations"], "row": 6, "reason": "empty 'output'"}
    with pytest.raises(DataError, match=r"alpaca.jsonl:6"):
        run_stage("data", tmp_path / "strict", flags=flags(files, "on_problem=error"))


def test_the_remedy_for_a_broken_row_is_the_setting_of_the_stage(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"instruction": f"Ask {i}?"}) + "\n" for i in range(40))
    (tmp_path / "p.jsonl").write_text(rows + "{\n")
    settings = [f"prompts={tmp_path / 'p.jsonl'}", "valid_fraction=0.4"]
    with pytest.raises(DataError, match=r"p\.jsonl:41: .* or set on_problem to skip_broken, which"):
        run_stage("data", tmp_path / "run", flags=settings)
    outcome = run_stage("data", tmp_path / "new", flags=[*settings, "on_problem=skip_broken"])
    assert outcome.summary["problems"] == 1


def test_given_prompts_replace_the_derived_ones(files: dict[str, str], tmp_path: Path) -> None:
    prompts = write(tmp_path / "p.jsonl", [{"instruction": f"Ask {i}?"} for i in range(20)])
    out = tmp_path / "out"
    run_stage("data", out, flags=flags(files, f"prompts={prompts}"))
    both = read(out / "prompts_train.jsonl") + read(out / "prompts_heldout.jsonl")
    assert questions(both) == {f"Ask {i}?" for i in range(20)}


def test_the_split_depends_on_the_seed_alone(files: dict[str, str], tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run_stage("data", tmp_path / name, flags=flags(files, f"seed={seed}"))
    a, b, c = (
        (tmp_path / name / "demonstrations_valid.jsonl").read_bytes() for name in ("a", "b", "c")
    )
    assert a == b != c


def test_a_kind_with_nothing_held_out_is_an_error(tmp_path: Path) -> None:
    rows = [{"instruction": f"Q{i}", "output": "A"} for i in range(30)]
    path = write(tmp_path / "d.jsonl", rows)
    one = write(tmp_path / "r.jsonl", [{"prompt": "Q1", "chosen": "a", "rejected": "b"}])
    with pytest.raises(DataError, match=r"rankings: the split leaves the (held-out|training) side"):
        run_stage("data", tmp_path / "out", flags=[f"demonstrations={path}", f"rankings={one}"])


def test_nothing_to_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to read"):
        run_stage("data", tmp_path / "out")


def test_real_files_of_five_formats_go_through(real_data: Path, tmp_path: Path) -> None:
    settings = [
        f"documents={real_data / 'pretrain_zh'}",
        f"demonstrations={real_data / 'sft_en/llamafactory/alpaca_en_demo.json'}",
        f"--demonstrations={real_data / 'sft_zh/llamafactory/alpaca_zh_demo.json'}",
        f"--rankings={real_data / 'pref/chatglm_efficient_tuning/oaast_rm_zh.json'}",
        f"--rankings={real_data / 'pref/hh_rlhf/harmless-base/test.jsonl.gz'}",
    ]
    summary = run_stage("data", tmp_path / "out", flags=settings).summary
    # the files hold 999 and 1,000 rows, 775 rankings and 2,312 pairs, some of them odd
    counts = summary["removals"]
    answered, ranked = (
        [counts[flag.partition("=")[2]] for flag in settings if flag.startswith(kind)]
        for kind in ("demonstrations=", "--rankings=")
    )
    answered.append(counts[settings[2].partition("=")[2]])
    assert sum(one["records"] for one in answered) == 1999
    assert sum(one["records"] for one in ranked) + summary["problems"] == 775 + 2312
    assert summary["demonstrations"] + summary["demonstrations_valid"] == sum(
        one["kept"] for one in answered
    )
    assert summary["rankings"] + summary["rankings_heldout"] == sum(one["kept"] for one in ranked)
    assert summary["problems"] < 40
