"""Soft prompts from the command line to every place that answers, on a model made from nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from instructgpt import InstructGPT
from instructgpt.cli.main import app
from instructgpt.data.records import Message
from instructgpt.errors import ConfigError
from instructgpt.models.soft_prompt_files import load_answering_lm
from instructgpt.pipeline.run import run_stage
from instructgpt.serving.served_model import ServedModel

ANSWERS = {"animal": "a whale", "place": "the sea"}
ROWS = [
    {"instruction": question, "output": answer, "task": task}
    for task, answer in ANSWERS.items()
    for question in ("Who is it?", "Tell me.", "Which one?")
]
TASKS = {f"adapter.tasks.{task}": "" for task in ANSWERS}
TRAINING: dict[str, Any] = {
    "hardware.device": "cpu", "hardware.dtype": "float32", "adapter.type": "soft_prompt",
    "adapter.virtual_tokens": 8, "optim.lr": 0.03, "optim.schedule": "constant", "epochs": 60,
    "batch_size": 6, "checkpoint_every": 25, **TASKS,
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that is told the task in words, and the run that teaches it soft prompts instead."""
    folder = tmp_path_factory.mktemp("soft")
    told = [{**r, "instruction": f"Name the {r['task']}. {r['instruction']}"} for r in ROWS]
    model = InstructGPT.create([" ".join(row.values()) for row in told], width=32, vocab_size=300)
    model.fit(told)
    model.save(folder / "base")
    lines = [json.dumps(row, ensure_ascii=False) for row in ROWS]
    (folder / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    train(folder, folder / "run")
    return folder


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def train(folder: Path, out: Path, **changes: Any) -> None:
    settings = {**TRAINING, **changes}
    settings |= {"model": folder / "base", "demonstrations": folder / "rows.jsonl"}
    run_stage("sft", out, [], [f"{key}={value}" for key, value in settings.items()])


def test_each_task_is_learned_and_the_model_is_as_it_was(root: Path) -> None:
    losses = [row["loss"] for row in read_rows(root / "run" / "metrics.jsonl")]
    assert losses[-1] < 0.1 < 0.5 < losses[0]
    assert {path.name for path in (root / "run").iterdir()} >= {"adapter", "metrics.jsonl"}
    assert not (root / "run" / "model").exists()
    state = next((root / "run").glob("checkpoints/*/state.pt"))
    assert state.stat().st_size < (root / "base" / "model.safetensors").stat().st_size
    model = InstructGPT.load(root / "run", device="cpu", dtype="float32")
    for task, answer in ANSWERS.items():
        assert model.ask("Tell me.", task=task) == answer
    assert model.evaluate(ROWS).exact_match.value == 1


def test_resumed_is_uninterrupted(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from instructgpt.training.sft import SFTTrainer

    step = SFTTrainer.step

    def dying(self: SFTTrainer, number: int) -> dict[str, float]:
        if number == 40:
            raise KeyboardInterrupt
        return step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(SFTTrainer, "step", dying)
        with pytest.raises(KeyboardInterrupt):
            train(root, tmp_path / "run")
    train(root, tmp_path / "run")
    for name in ("animal", "place"):
        file = f"adapter/{name}/adapter_model.safetensors"
        assert (tmp_path / "run" / file).read_bytes() == (root / "run" / file).read_bytes()


def test_generate_takes_a_task(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def generate(source: str, *task: str) -> tuple[str, str]:
        flags = ["--device", "cpu", *task]
        app(["generate", str(root / source), "Tell me.", *flags], standalone_mode=False)
        return capsys.readouterr()

    assert generate("run", "--task", "place") == ("the sea\n", "")
    assert "knows the tasks animal, place; none is named" in generate("run")[1]
    assert "'food' is not one of them" in generate("run", "--task", "food")[1]
    said = "error: task 'place': this model has no soft prompts to choose from\n"
    assert generate("base", "--task", "place")[1].endswith(said)


def test_a_server_puts_it_before_every_prompt(root: Path) -> None:
    from instructgpt.serving.errors import ApiError
    from instructgpt.serving.generation import Inbox
    from instructgpt.serving.schemas import ChatRequest

    served = ServedModel("soft", load_answering_lm(root / "run", device="cpu"), max_slots=2)
    assert served.tasks == ["animal", "place"]
    ids = served.chat_ids([Message("user", "Tell me.")])

    def prompt(task: str | None) -> list[int]:
        body = ChatRequest.model_validate(
            {"messages": [{"role": "user", "content": "Tell me."}], "task": task}
        )
        return list(served.generation(ids, body, Inbox(), max_tokens=4, top=None).prompt_ids)

    for task in ANSWERS:
        assert prompt(task) == [*served.lm.adapter.prefixes[task], *ids]
    with pytest.raises(ApiError, match="'task': the model knows the tasks animal, place; none"):
        prompt(None)


def test_evaluation_asks_it_by_the_prompts_tasks(root: Path, tmp_path: Path) -> None:
    prompts = [{"prompt": row["instruction"], "task": row["task"]} for row in ROWS]
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(map(json.dumps, prompts)), encoding="utf-8")
    rankings = [{"prompt": "?", "chosen": "a", "rejected": "b"}, {"prompt": "!", "chosen": "a",
                "rejected": "b"}]  # fmt: skip
    (tmp_path / "rankings.jsonl").write_text("\n".join(map(json.dumps, rankings)))
    files = [f"{name}={tmp_path / 'rankings.jsonl'}" for name in ("rankings", "rankings_heldout")]
    run_stage("reward_model", tmp_path / "reward", [], [f"model={root / 'base'}", *files])
    flags = {
        "models.sft": root / "base", "models.soft": root / "run" / "model", "prompts": path,
        "reward_model": tmp_path / "reward", "sampling.max_new_tokens": 8,
        "hardware.device": "cpu", "hardware.dtype": "float32",
    }  # fmt: skip
    run_stage("evaluate", tmp_path / "out", [], [f"{k}={v}" for k, v in flags.items()])
    rows = read_rows(tmp_path / "out" / "completions.jsonl")
    said = {(r["meta"]["task"], r["completion"]) for r in rows
            if r["model"] == "soft" and r["condition"] == "greedy"}  # fmt: skip
    assert said == set(ANSWERS.items())
    # the reference does not know the virtual tokens: no divergence from it
    assert {r["kl"] for r in rows if r["model"] == "soft"} == {None}


def test_python_trains_one_for_everything_and_saves_it(root: Path, tmp_path: Path) -> None:
    soft = {"type": "soft_prompt", "virtual_tokens": 8}
    rows = [row for row in ROWS if row["task"] == "place"]
    model = InstructGPT.load(root / "base", device="cpu", dtype="float32")
    model.fit(rows, adapter=soft)
    assert model.ask("Tell me.") == "the sea"
    with pytest.raises(ConfigError, match="fit: this model has soft prompts"):
        model.fit(rows)
    model.save(tmp_path / "mine")
    again = InstructGPT.load(tmp_path / "mine", device="cpu", dtype="float32")
    assert again.ask("Who is it?") == "the sea"
    plain = AutoModelForCausalLM.from_pretrained(root / "base")
    assert plain.num_parameters() + 8 * 32 == again.lm.model.num_parameters()
    fresh = InstructGPT.create(["the sea"], width=32, vocab_size=300)
    with pytest.raises(ConfigError, match="save it, and load what was saved"):
        fresh.fit(rows, adapter=soft)
