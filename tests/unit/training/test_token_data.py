"""Data that is tokenised once into the run directory: the same ids, made again only if it must."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from instructgpt.data.problems import collect_problems
from instructgpt.data.readers import load_demonstrations, load_documents, load_rankings
from instructgpt.distributed.world import World
from instructgpt.pipeline.run import run_stage
from instructgpt.progress import show_progress
from instructgpt.storage.run_dir import RunDir
from instructgpt.text.chat_template import ChatRenderer
from instructgpt.text.rows import text_rows
from instructgpt.text.tokenizer import adapt_tokenizer, train_bpe
from instructgpt.training.token_data import TokenData, flat_sequences, largest_ranking

DIALOGUES = [
    {
        "messages": [
            {"role": "user", "content": f"How many are {i} owls?"},
            {"role": "assistant", "content": "One moment.", "weight": i % 2},
            {"role": "user", "content": "And?"},
            {"role": "assistant", "content": "owl " * i},
        ]
    }
    for i in range(1, 9)
]
RANKINGS: list[dict[str, Any]] = [
    {"prompt": "q", "completions": ["a", "b b b", "c"], "ranks": [2, 1, 2]},
    {"prompt": "tied", "completions": ["a", "b"], "ranks": [1, 1]},
    {"prompt": "q " * 9, "completions": ["x", "y"], "ranks": [2, 1]},
]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    made = train_bpe(["How many owls are there? One moment. And?"] * 3, 330)
    adapt_tokenizer(made, "compact")
    return made


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def open_run(path: Path, **config: Any) -> RunDir:
    return RunDir.open(path, "sft", config, seed=0)


def test_the_ids_are_those_of_the_records_in_order(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    renderer = ChatRenderer(tokenizer)
    with open_run(tmp_path / "run") as run:
        data = TokenData(run, World(), tokenizer)
        path = write(tmp_path / "d.jsonl", DIALOGUES)
        found = data.demonstrations("d", path, renderer, "assistant", 31)
        every = [renderer.dialogue_ids(r.messages) for r in load_demonstrations(path).records]
        assert list(found) == [one for one in every if len(one[0]) <= 31]
        assert len(found) == 4

        path = write(tmp_path / "t.jsonl", [{"text": "owls are there " * i} for i in range(9)][1:])
        texts = [document.text for document in load_documents(path).records]
        rows = list(text_rows(texts, tokenizer, 16))
        assert list(data.documents("t", path, 16)) == [(row, [True] * len(row)) for row in rows]

        path = write(tmp_path / "r.jsonl", RANKINGS)
        ranked = data.rankings("r", path, renderer, 200)
        records = [r for r in load_rankings(path).records if r.prompt.text != "tied"]
        assert [one.ranks for one in ranked] == [one.ranks for one in records]
        for one, record in zip(ranked, records, strict=True):
            texts = [renderer.decode([i for i, m in zip(*s, strict=True) if m]) for s in one[0]]
            assert texts == list(record.completions)
        assert list(flat_sequences(ranked)) == flat_sequences(list(ranked))
        assert largest_ranking(ranked) == largest_ranking(list(ranked))


def test_a_file_is_never_in_memory_as_a_whole(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    """As lists of ids and masks alone, these 1.2 MB of text would take 6 MB."""
    path = write(tmp_path / "t.jsonl", [{"text": "How many owls? " * 20}] * 4000)
    with open_run(tmp_path / "run") as run:
        tracemalloc.start()
        rows = TokenData(run, World(), tokenizer).documents("t", path, 128)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert Path(path).stat().st_size > 1.2e6
    assert rows.lengths.sum() > 350_000
    assert peak < 1.5e6


def test_it_is_made_once_for_a_run_and_anew_for_another_tokenizer(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    path = write(tmp_path / "t.jsonl", [{"text": "owls are there"}])
    with open_run(tmp_path / "run") as run:
        first = list(TokenData(run, World(), tokenizer).documents("t", path, 16))
    write(tmp_path / "t.jsonl", [{"text": "other words"}])  # would show if it were read again
    with open_run(tmp_path / "run") as run:
        assert list(TokenData(run, World(), tokenizer).documents("t", path, 16)) == first
        assert list(TokenData(run, World(), tokenizer).documents("t", path, 4)) != first
        other = train_bpe(["nothing alike"], 300)
        assert list(TokenData(run, World(), other).documents("t", path, 16)) != first
        assert sorted(p.name for p in (tmp_path / "run/tokens").iterdir()) == ["t"]
        run.finish({})
    assert not (tmp_path / "run/tokens").exists()


def test_what_was_left_out_is_told_again_when_it_is_not_read_again(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    """A run that was interrupted ends with the same summary as one that was not."""
    tasks = [
        {"instruction": "q", "instances": [{"output": "a"}, {"output": ""}]},
        {"instruction": "q", "instances": []},
    ]
    path = write(tmp_path / "d.jsonl", tasks)
    renderer = ChatRenderer(tokenizer)
    lines = []
    for _ in range(2):
        with open_run(tmp_path / "run") as run, collect_problems() as found:
            TokenData(run, World(), tokenizer).demonstrations("d", path, renderer, "last", 99)
        lines.append((found.lines(), found.rows_left_out))
    assert lines[0] == lines[1]
    assert lines[0][1] == 1
    assert len(lines[0][0]) == 2


def test_a_finished_stage_keeps_no_tokens_and_said_where_its_steps_come_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_progress()
    texts = [f"owls are {i} there" for i in range(30)]
    path = write(tmp_path / "t.jsonl", [{"text": text} for text in texts])
    shape = ["shape.layers=1", "shape.width=16", "shape.heads=1", "shape.context=32"]
    flags = [f"documents={path}", "vocab_size=270", "tokens=512", "batch_tokens=256", *shape]
    summary = run_stage("pretrain", tmp_path / "run", flags=[*flags, "row_tokens=32"]).summary
    assert summary["rows"] == 30
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run/model")
    # each text and its separator are a row
    mean = sum(len(tokenizer(text).input_ids) + 1 for text in texts) / 30
    a_step = round(256 / mean)
    steps = -(-512 // (a_step * mean))
    said = f"steps     {steps:.0f}: {a_step} rows a step, {mean:.3g} tokens long on average; "
    assert said + f"{steps * a_step / 30:.3g} passes over 30 rows" in capsys.readouterr().err
    assert not (tmp_path / "run/tokens").exists()
