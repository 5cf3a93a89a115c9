"""Soft prompts by virtual token ids say what peft says, and leave the model as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from instructgpt.config.adapter import AdapterConfig
from instructgpt.config.shared import OptimConfig
from instructgpt.data.records import Demonstration, Message, Prompt
from instructgpt.errors import CheckpointError, ConfigError, DataError
from instructgpt.models.batch import TokenBatch
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.export import export_model
from instructgpt.models.load import load_causal_lm, new_reward_model
from instructgpt.models.publish import publish
from instructgpt.models.soft_prompt_files import load_answering_lm, save_soft_prompts
from instructgpt.models.soft_prompt_start import attach_soft_prompts
from instructgpt.rollout.engine import Engine
from instructgpt.rollout.types import SamplingParams
from instructgpt.text.tokenizer import train_bpe
from instructgpt.training.examples import tokenize_demonstrations
from instructgpt.training.optimizer import Optimizer

FACTS = {"name": "t", "stage": "sft", "version": "0", "seed": 0, "parents": {}, "summary": {}}
SOFT = AdapterConfig(type="soft_prompt", virtual_tokens=5, instruction="Name the animal.")
TASKS = AdapterConfig(type="soft_prompt", virtual_tokens=3, tasks={"qa": "Answer.", "sum": ""})
IDS = [7, 8, 9, 10]


def _gpt2(vocabulary: int) -> GPT2LMHeadModel:
    """Learned positions, tied embeddings."""
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=vocabulary, n_layer=2, n_embd=16, n_head=2, n_positions=64)
    )


def _llama(vocabulary: int) -> LlamaForCausalLM:
    """Rotary positions, an output layer of its own."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64,
        )
    )  # fmt: skip


@pytest.fixture(scope="module", params=[_gpt2, _llama])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "model"
    tokenizer = train_bpe(["the whale swims in the sea", "鲸鱼在海里游"], 300)
    torch.manual_seed(0)
    model = request.param(len(tokenizer))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    export_model(model, tokenizer, folder, FACTS)
    return folder


def _soft(folder: Path, config: AdapterConfig = SOFT, steps: int = 3) -> CausalLM:
    """A few steps away from the instruction."""
    lm = load_causal_lm(folder, device="cpu", dtype="float32")
    attach_soft_prompts(lm, config, base=str(folder.parent), seed=1)  # as a run directory
    optimizer = Optimizer(lm.trained, OptimConfig(lr=3e-2))
    for _ in range(steps):
        for prefix in lm.adapter.prefixes.values():
            batch = TokenBatch.from_completions([[*prefix, 5]], [IDS], lm.pad_id)
            lm.logprobs(batch).sum().neg().backward()
        optimizer.step(1.0)
    lm.model.eval()
    return lm


def _logits(model: torch.nn.Module, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0]


@pytest.mark.parametrize(("config", "task"), [(SOFT, ""), (TASKS, "qa"), (TASKS, "sum")])
def test_peft_loads_it_and_says_the_same(base, tmp_path, config, task):
    from peft import PeftModel

    lm = _soft(base, config)
    save_soft_prompts(lm, tmp_path / "adapter", FACTS)
    plain = AutoModelForCausalLM.from_pretrained(base)
    peft = PeftModel.from_pretrained(plain, tmp_path / "adapter" / task).eval()
    prefix = lm.adapter.prefixes[task]
    theirs, ours = _logits(peft, IDS), _logits(lm.model, [*prefix, *IDS])
    assert ours.shape == theirs.shape == (len(prefix) + len(IDS), plain.config.vocab_size)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    assert not torch.allclose(theirs[-1], _logits(plain, IDS)[-1], atol=1e-3)
    # and one greedy step after the other
    engine = Engine(lm.model, [], lm.pad_id, max_slots=2)
    (group,) = engine.generate([[*prefix, *IDS]], SamplingParams(8, temperature=0.0))
    read = list(IDS)
    for _ in range(8):
        read.append(int(_logits(peft, read)[-1].argmax()))
    assert group[0].completion_ids == read[len(IDS) :]


def test_it_starts_as_the_embedding_of_its_instruction(base):
    lm = _soft(base, AdapterConfig(type="soft_prompt", virtual_tokens=9, instruction="a b"), 0)
    ids = lm.tokenizer.encode("a b", add_special_tokens=False)
    spelled = (ids * 9)[:9]
    plain = AutoModelForCausalLM.from_pretrained(base)
    torch.testing.assert_close(
        _logits(lm.model, [*lm.adapter.prefixes[""], *IDS]), _logits(plain, [*spelled, *IDS])
    )


def test_only_its_rows_move_and_only_the_vocabulary_is_written(base):
    lm, plain = _soft(base, TASKS), AutoModelForCausalLM.from_pretrained(base)
    for key, tensor in plain.state_dict().items():
        ours = lm.model.state_dict()[key.replace("wte.", "wte.embedding.").replace(
            "embed_tokens.", "embed_tokens.embedding.")]  # fmt: skip
        assert torch.equal(tensor, ours), key
    start = _soft(base, TASKS, steps=0)
    for task, rows_ND in lm.state_dict().items():
        assert not torch.allclose(rows_ND, start.state_dict()[task], atol=1e-3)
    batch = TokenBatch.from_completions([[*lm.adapter.prefixes["qa"], 5]], [IDS], lm.pad_id)
    optimizer = Optimizer(lm.trained, OptimConfig(lr=1.0))
    lm.logprobs(batch).sum().backward()
    assert [p.shape for p in optimizer.parameters] == [(6, 16)]
    assert optimizer.parameters[0].grad[3:].abs().sum() == 0  # the other task's


def test_what_was_saved_answers_as_before_and_knows_its_base(base, tmp_path):
    lm = _soft(base, TASKS)
    save_soft_prompts(lm, tmp_path / "run" / "adapter", FACTS)
    for source, task in ((tmp_path / "run", "sum"), (tmp_path / "run" / "model", "sum"),
                         (tmp_path / "run" / "adapter" / "sum", "")):  # fmt: skip
        again = load_answering_lm(source, device="cpu", dtype="float32")
        assert torch.equal(again.adapter.rows(task), lm.adapter.rows("sum"))
        ids = again.renderer().prompt_ids([Message("user", "whale")], "sum")
        assert len(ids) == 3 + len(lm.tokenizer.encode("whale")) + 3  # virtual, text, markers
    moved = json.loads((tmp_path / "run" / "adapter" / "sum" / "adapter_config.json").read_text())
    assert moved["base_model_name_or_path"] == str(base)
    facts = tmp_path / "run" / "adapter" / "instructgpt.json"
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "base_weights": "other"}))
    with pytest.raises(CheckpointError, match="was trained on other weights than those that are"):
        load_answering_lm(tmp_path / "run", device="cpu")


def test_what_needs_a_model_of_its_own_refuses_it(base, tmp_path):
    save_soft_prompts(_soft(base, steps=0), tmp_path / "run" / "adapter", FACTS)
    line = r"has soft prompts, and no model of its own to train or to export: .* which peft loads"
    for refused in (
        lambda: load_causal_lm(tmp_path / "run", device="cpu"),
        lambda: new_reward_model(tmp_path / "run" / "model", seed=0, device="cpu"),
        lambda: publish(tmp_path / "run", tmp_path / "out"),
    ):
        with pytest.raises(CheckpointError, match=line):
            refused()


def test_records_choose_by_their_task_and_are_named_when_they_cannot(base):
    renderer = _soft(base, TASKS, steps=0).renderer()
    rows = [
        Demonstration(Prompt.from_text("the sea", meta={"task": task}), "swims")
        for task in ("qa", "sum", "chat")
    ]
    sequences = list(tokenize_demonstrations(rows[:2], renderer, "all", 64))
    firsts = [ids[:3] for ids, _ in sequences]
    assert firsts == [list(renderer.prefixes["qa"]), list(renderer.prefixes["sum"])]
    assert all(mask == [False] * 3 + [True] * (len(ids) - 3) for ids, mask in sequences)
    line = "demonstration 3: the model knows the tasks qa, sum; 'chat' is not one of them"
    with pytest.raises(DataError, match=line):
        list(tokenize_demonstrations(rows, renderer, "all", 64))


def test_a_template_with_tokens_that_were_never_trained_is_refused(base):
    lm = load_causal_lm(base, device="cpu", chat_template="chatml")
    with pytest.raises(ConfigError, match=r"has never seen <\|im_end\|>, <\|im_start\|>; choose"):
        attach_soft_prompts(lm, SOFT, base=str(base), seed=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": {"qa": ""}}, "tasks is set, but type = none trains no adapter"),
        ({"type": "lora", "virtual_tokens": 4}, "virtual_tokens is set, but it belongs to type"),
        ({"type": "soft_prompt", "rank": 4}, "rank is set, but it belongs to type = lora"),
        ({"type": "soft_prompt", "tasks": {"a/b": ""}}, "task 'a/b': use letters"),
        ({"type": "soft_prompt", "tasks": {"a": ""}, "instruction": "b"}, "leave it out"),
    ],
)
def test_settings_that_do_not_go_together(settings, message):
    with pytest.raises(ValueError, match=message):
        AdapterConfig(**settings)
