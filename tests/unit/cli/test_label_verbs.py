"""`instructgpt label import, invite, export`: from a file of answers to a reward model."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner, Result

from instructgpt.cli.main import app
from instructgpt.data.readers import load_demonstrations, load_rankings
from instructgpt.storage.annotation import Annotation
from instructgpt.storage.label_access import LabelAccess, Person
from instructgpt.storage.label_answers import LabelAnswers
from instructgpt.storage.label_desk import LabelDesk
from instructgpt.storage.label_store import LabelStore
from instructgpt.text.tokenizer import train_bpe

ANSWERS = ["A whale is a mammal.", "No idea.", "A fish."]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def store(address: str, tmp_path: Path) -> str:
    """Ten prompts to rank, one to answer, and ann and bob, who have been invited."""
    rows = [
        {"prompt": f"What is whale {i}?", "completions": ANSWERS, "meta": {"models": [*"mmn"]}}
        for i in range(9)
    ]
    chat = [{"role": "user", "content": "Say hi"}]
    rows.append({"prompt": chat, "id": "x", "completions": ["hi", "hello"]})
    write(tmp_path / "answers.jsonl", rows)
    write(tmp_path / "prompts.jsonl", [{"prompt": "Write a poem"}])
    answers = ("label", "import", tmp_path / "answers.jsonl", "--store", address)
    assert "10 rows" in call(*answers, "--overlap", 1).stdout
    prompts = ("label", "import", tmp_path / "prompts.jsonl", "--store", address)
    assert "has 11 tasks" in call(*prompts, "--kind", "demonstrate").stdout
    for name in ("ann", "bob"):
        said = call("label", "invite", name, "--store", address, "--url", "https://labels.example/")
        assert re.fullmatch(r"https://labels\.example/join#[\w-]{43}\n", said.stdout)
    return address


def test_what_people_said_trains_a_reward_model(store: str, tmp_path: Path) -> None:
    with LabelStore(store) as opened:
        for name in ("ann", "bob"):
            work(opened, name)
    out = tmp_path / "out"
    assert call("label", "export", "--store", store, "--out", out, "--heldout", 0.2).exit_code == 0
    train = load_rankings(out / "rankings.jsonl").records
    held = load_rankings(out / "rankings_heldout.jsonl").records
    assert (len(train), len(held)) == (16, 4)  # 8 and 2 prompts, twice ranked
    assert {r.prompt.key for r in train}.isdisjoint({r.prompt.key for r in held})
    for ranking in (*train, *held):
        best = ranking.completions[ranking.ranks.index(1)]
        assert best == max(ranking.completions, key=len)
        if len(ranking.completions) == 3:
            assert ranking.meta["models"] == ["m", "m", "n"]
    (demonstration,) = load_demonstrations(out / "demonstrations.jsonl").records
    assert demonstration.completion == "A poem."
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert sum(row["kind"] == "ranked" for row in history) == 20
    trained = call(
        "reward-model", "--out", tmp_path / "rm", "--model", tiny(tmp_path / "model"),
        "--rankings", out / "rankings.jsonl", "--rankings_heldout", out / "rankings_heldout.jsonl",
    )  # fmt: skip
    assert trained.exit_code == 0, trained.stdout
    assert json.loads((tmp_path / "rm" / "done.json").read_text())


def test_the_command_that_invites_works_as_it_is_printed(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It showed *** for the password, and left out what stood behind ?."""
    monkeypatch.setattr("instructgpt.labeling.server.run", lambda *_arguments: None)
    LabelStore(address).close()
    said = call("label", "serve", "--store", address, "--port", 0).stdout
    (line,) = (line for line in said.splitlines() if line.startswith("  instructgpt "))
    words = shlex.split(line)[1:]
    words[words.index("NAME")] = "ann"
    if "://" in address:
        assert "password is left out: put it into ~/.pgpass or PGPASSWORD" in said
        password = urlsplit(address).password
        assert password is not None
        assert password not in said
        monkeypatch.setenv("PGPASSWORD", unquote(password))
    invited = call(*words)
    assert (invited.exit_code, "/join#" in invited.stdout) == (0, True), invited.output
    with LabelStore(address) as opened:
        assert opened.counts()["labelers"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "bad.jsonl", "--store", "else.sqlite"], "'else.sqlite' holds something else"),
        (["serve", "--store", "nowhere.sqlite"], "no label store at 'nowhere.sqlite'"),
        (["export", "--store", "nowhere.sqlite", "--out", "out"], "no label store at"),
        (["backup", "--store", "else.sqlite", "--out", "out"], "no label store at"),
        (["import", "bad.jsonl", "--store", "s.sqlite"], "bad.jsonl:2: "),
        (["import", "bad.jsonl", "--store", "s.sqlite", "--kind", "screening"], "bad.jsonl:1: "),
        (["invite", " ", "--store", "s.sqlite"], "is no name for a labeler"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_half_import(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    LabelStore("s.sqlite").close()
    with closing(sqlite3.connect("else.sqlite")) as other:
        other.execute("CREATE TABLE cats (name)")
    write(Path("bad.jsonl"), [{"prompt": "a", "completions": ["x", "y"]}, {"prompt": "b"}])
    said = call("label", *arguments)
    assert said.exit_code == 2
    assert message in said.stderr
    assert said.stderr.count("\n") == 1
    with LabelStore("s.sqlite") as opened:
        assert opened.counts()["tasks"] == 0


@pytest.mark.parametrize("arguments", [["import", "nowhere.jsonl"], ["invite", "ann"]])
def test_a_mistyped_name_makes_no_store(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = call("label", *arguments, "--store", "new.sqlite")
    assert said.exit_code == 2
    assert said.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_stage_is_still_the_word_alone() -> None:
    assert "--models" in call("label", "--help").stdout
    assert "no such" not in call("label", "import", "--help").stdout.lower()


def write(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def work(store: LabelStore, name: str) -> None:
    """Rank the longest answer best, and write."""
    desk, access = LabelDesk(store), LabelAccess(store)
    person = access.who(access.sign_in(access.invite(name)) or "")
    assert isinstance(person, Person)
    answers = LabelAnswers(desk)
    while (task := desk.next(person)) is not None:
        uuid = f"{name}-{task.id}"
        if task.kind == "demonstrate":
            answers.submit_demonstration(person, task.id, "A poem.", client_uuid=uuid)
            continue
        longest = sorted(task.completions, key=len, reverse=True)
        ranks = [1 + longest.index(text) for text in task.completions]
        answers.submit_ranking(person, task.id, Annotation(ranks), uuid)


def tiny(folder: Path) -> Path:
    tokenizer = train_bpe([*ANSWERS, "What is a whale?"], 300)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=128,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
