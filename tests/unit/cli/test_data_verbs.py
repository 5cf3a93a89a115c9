"""`data inspect` says what was understood and draws the loss; `data convert` writes records."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from instructgpt.cli.console import ConsoleObserver
from instructgpt.cli.data_examples import Piece, draw, visible
from instructgpt.cli.main import app
from instructgpt.data.inspection import quantiles, script, survey
from instructgpt.data.readers import load_rankings
from instructgpt.data.records import Demonstration, Document, Message, Prompt, Ranking
from instructgpt.pipeline.run import run_stage
from instructgpt.text.chat_template import ChatRenderer
from instructgpt.text.tokenizer import adapt_tokenizer, train_bpe


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def dialogues(tmp_path):
    question = {"role": "user", "content": "1 + 1?"}
    answer = {"role": "assistant", "content": "2."}
    return write(
        tmp_path / "rows.jsonl",
        {"messages": [question, {**answer, "weight": 0}, question, answer]},
        {"messages": [question]},
        {"messages": [question, {**answer, "content": "二。"}]},
        {"messages": [question, {**answer, "content": "二。"}]},
    )


def test_inspect_says_what_was_understood_and_marks_what_is_learned(dialogues):
    result = run("data", "inspect", dialogues, "--examples", 1)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("format     messages: messages: [{role, content, weight?}, ...]")
    assert lines[1:9] == [
        "records    3 demonstrations",
        # the prompts, all digits, and "2." have no letters
        "writing    Han 2, no letters 1",
        "prompt     6 characters (median), 16 (95 %), 16 (longest)",
        "answer     2 characters (median), 2 (95 %), 2 (longest)",
        "repeated   1 equal an earlier record (rows 4)",
        "problems   1",
        f"  {dialogues}: 1 row left out (2): the dialogue does not end with an assistant turn",
        "",
    ]
    assert lines[-5:] == [
        "-- demonstration: 2 characters learned",
        "user: 1 + 1?",
        "assistant: 2.",
        "user: 1 + 1?",
        "assistant: «2.<end>»",
    ]


def test_inspect_draws_the_tokens_of_a_model(dialogues, tmp_path):
    tokenizer = train_bpe(["user assistant 1 + 1? 2. 二。"] * 4, 330)
    adapt_tokenizer(tokenizer, "compact")
    tokenizer.save_pretrained(tmp_path / "model")
    result = run("data", "inspect", dialogues, "--examples", 1, "--model", tmp_path / "model")
    assert result.exit_code == 0, result.output
    # 2, ., and the end token; the first answer has weight 0
    assert "tokens, 3 receive loss" in result.output
    assert "<|user|>1 + 1?<|end|><|assistant|>2.<|end|>" in result.output
    assert result.output.rstrip().endswith("<|assistant|>«2.<|end|>»")


def test_tokens_spell_the_text_and_parts_of_a_character_are_one_piece():
    tokenizer = train_bpe(["plain English text"] * 4, 280)
    adapt_tokenizer(tokenizer, "compact")
    renderer = ChatRenderer(tokenizer)
    record = Demonstration(Prompt.from_text("你好 <|end|>"), "猫, cat")
    [drawing] = draw(record, renderer, "assistant")
    text = "<|user|>你好 <|end|><|end|><|assistant|>猫, cat<|end|>"
    assert "".join(piece.text for piece in drawing.pieces) == text
    assert Piece("猫", "loss") in drawing.pieces
    # in bytes, for the tokenizer saw no Chinese: 猫 is 3 tokens, then 5 characters and the end
    assert drawing.note.endswith(f" tokens, {3 + 5 + 1} receive loss")
    # the one that somebody typed is spelled out, and no end
    assert [piece.role for piece in drawing.pieces if piece.text == "<|end|>"] == ["context", "end"]
    [document] = draw(Document("猫 text"), renderer, "assistant")
    assert document.pieces[-1] == Piece("<|endoftext|>", "end")
    [prompt] = draw(Prompt.from_text("q"), renderer, "assistant")
    assert {piece.role for piece in prompt.pieces} == {"context"}


def test_a_ranking_is_drawn_by_its_best_and_worst_completion():
    ranking = Ranking(Prompt.from_text("q"), ("mid", "best", "worst"), (2, 1, 3))
    best, worst = draw(ranking, None, "assistant")
    assert [p.text for p in best.pieces if p.role == "loss"] == ["best"]
    assert [p.text for p in worst.pieces if p.role == "loss"] == ["worst"]


def test_control_characters_are_drawn_and_not_sent():
    assert visible("a\x1b[31m\x00\x9b\n\tb") == "a␛[31m␀\\x9b\n\tb"


def test_numbers_of_a_survey():
    # nearest rank: the 95th percentile of 1..100 is 95
    assert quantiles(range(1, 101)) == (50, 95, 100)
    assert quantiles([7]) == (7, 7, 7)
    assert [script(t) for t in ("Hello 世界", "你好 ok 世界", "これは", "Привет", "12 + 3")] == [
        "Latin",
        "Han",
        "Kana",
        "Cyrillic",
        "no letters",
    ]


def test_a_survey_takes_the_richest_kind_that_the_rows_hold(tmp_path):
    prompt = Prompt.from_text("q")
    records = {
        "prompts": prompt,
        "demonstrations": Demonstration(prompt, "a"),
        "rankings": Ranking(prompt, ("a", "b"), (1, 2)),
        "documents": Document("text"),
    }
    for kind, record in records.items():
        found = survey(write(tmp_path / f"{kind}.jsonl", record.to_dict()))
        assert (found.kind, found.num_records) == (kind, 1)


def test_convert_writes_records_and_names_what_it_left_out(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("Question,Answer\nq1,a1\nq2,\nq3,a3,x\n")
    out = tmp_path / "new" / "rows.jsonl"
    arguments = ["data", "convert", path, "--to", "demonstrations", "--out", out]
    columns = ["--columns", "prompt=Question,completion=Answer"]
    refused = run(*arguments, *columns)
    assert refused.exit_code == 2
    assert (
        "rows.csv:4: 3 cells where there are 2 columns; mend the file, or set on_problem to "
        "skip_broken, which leaves such rows out\n"
    ) in refused.output
    assert not out.exists()
    result = run(*arguments, *columns, "--on-problem", "skip_broken")
    assert result.exit_code == 0, result.output
    assert [json.loads(line) for line in out.read_text().splitlines()] == [
        Demonstration(Prompt((Message("user", "q1"),)), "a1").to_dict()
    ]
    assert result.output.splitlines() == [
        f"1 demonstrations in {out}",
        f"  {path}: 1 row left out (3): empty final answer",
        f"  {path}: 1 row left out (4): 3 cells where there are 2 columns",
    ]
    again = run(*arguments, *columns)
    assert (again.exit_code, "exists already" in again.output) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--to", "pairs", "--out", "x.jsonl"], "--to: one of rankings, demonstrations"),
        (["--to", "prompts", "--out", "x.csv"], "name the file x.jsonl"),
        (["--to", "prompts", "--out", "x.jsonl", "--on-problem", "mend"], "--on-problem: one of"),
        (["--to", "prompts", "--out", "x.jsonl", "--columns", "q"], "--columns: write columns as"),
        (["--to", "rankings", "--out", "x.jsonl"], "holds prompts and demonstrations"),
    ],
)
def test_what_cannot_be_converted_is_one_line(tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "rows.jsonl", {"prompt": "q", "completion": "a"})
    result = run("data", "convert", "rows.jsonl", *arguments)
    assert (result.exit_code, says in result.output) == (2, True), result.output
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_what_is_converted_is_read_back_as_it_was(tmp_path):
    rows = [{"instruction": f"q{i}", "output": ["a", "b", "c"]} for i in range(3)]
    path, out = write(tmp_path / "rows.jsonl", *rows), tmp_path / "out.jsonl.gz"
    assert run("data", "convert", path, "--to", "rankings", "--out", out).exit_code == 0
    assert load_rankings(out).records == load_rankings(path).records


def test_a_stage_says_at_its_end_which_rows_it_left_out(tmp_path, capsys):
    rows = [{"instruction": f"Question {i}?", "output": f"Answer {i}."} for i in range(20)]
    rows.insert(5, {"instruction": "Broken", "output": ""})
    path = write(tmp_path / "rows.jsonl", *rows)
    flags = [f"demonstrations={path}", "valid_fraction=0.3", "columns=instruction=instruction"]
    outcome = run_stage("data", tmp_path / "run", flags=flags, observer=ConsoleObserver())
    line = f"{path}: 1 row left out (6): empty 'output'"
    assert outcome.summary["rows_left_out"] == 1
    assert outcome.summary["data_problems"] == [line]
    assert f"    {line}" in capsys.readouterr().out.splitlines()


def test_convert_stops_at_a_limit_and_reads_no_further(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"q{i}", "completion": "a" if i else ""} for i in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "not JSON\n")
    out = tmp_path / "few.jsonl"
    result = run("data", "convert", path, "--to", "demonstrations", "--out", out, "--limit", "2")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [
        f"2 demonstrations in {out}",
        f"  {path}: 1 row left out (1): empty final answer",
    ]
    lines = out.read_text().splitlines()
    assert [json.loads(line)["prompt"][0]["content"] for line in lines] == ["q1", "q2"]
