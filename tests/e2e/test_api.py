"""The ten-line way in, on a GPT-2 checkpoint without a pad token or a chat template."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from instructgpt import InstructGPT
from instructgpt.errors import ConfigError, DataError

ROW = {
    "instruction": "回答这个问题：什么是人工智能？",
    "output": "人工智能是一门研究如何使用计算机模拟、延伸和扩展人类智能的科学。",
}


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory) -> Path:
    """GPT-2's architecture and tokenizer kind, random weights: EOS is the only special token."""
    folder = tmp_path_factory.mktemp("gpt2")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(["What is a whale? A whale is a mammal.", "你好，世界。"], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|endoftext|>", bos_token="<|endoftext|>"
    )
    assert tokenizer.pad_token is None
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=2, n_embd=64, n_head=2, n_positions=256, vocab_size=len(tokenizer),
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def fitted(gpt2) -> InstructGPT:
    model = InstructGPT.load(gpt2)
    result = model.fit([ROW])
    assert result.loss < 0.05
    return model


def test_one_row_is_learned_exactly(fitted):
    assert fitted.ask(ROW["instruction"]) == ROW["output"]


def test_a_question_it_was_not_shown_gets_a_whole_sentence(fitted):
    assert fitted.ask("人工智能是什么？").endswith("。")


def test_saved_model_answers_the_same_everywhere(fitted, tmp_path):
    fitted.save(tmp_path / "my-model")
    again = InstructGPT.load(tmp_path / "my-model")
    assert again.ask(ROW["instruction"]) == ROW["output"]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "my-model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "my-model")
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": ROW["instruction"]}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    out = model.generate(**ids, max_new_tokens=120, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert tokenizer.decode(out, skip_special_tokens=True) == ROW["output"]


def test_stream_is_the_answer_in_pieces(fitted):
    pieces = list(fitted.stream([{"role": "user", "content": ROW["instruction"]}]))
    assert len(pieces) > 5
    assert "".join(pieces) == ROW["output"]
    assert "\ufffd" not in "".join(pieces)


def test_no_rows_and_broken_rows_are_refused(gpt2):
    model = InstructGPT.load(gpt2)
    with pytest.raises(DataError, match="no rows"):
        model.fit([])
    with pytest.raises(DataError, match="demonstrations:2"):
        model.fit([ROW, {"instruction": "no answer here"}])


def test_an_adapter_learns_the_row_and_leaves_a_plain_model(gpt2):
    model = InstructGPT.load(gpt2)
    names = set(model.lm.model.state_dict())
    frozen = model.lm.model.transformer.wte.weight.detach().clone()
    layer = model.lm.model.transformer.h[0].mlp.c_fc
    before = layer.weight.detach().clone()
    model.fit([ROW], adapter={"rank": 8, "alpha": 16.0})
    assert model.ask(ROW["instruction"]) == ROW["output"]
    assert set(model.lm.model.state_dict()) == names
    assert torch.equal(model.lm.model.transformer.wte.weight, frozen)
    change = layer.weight.detach() - before
    assert torch.linalg.matrix_rank(change, atol=1e-5) == 8
    model.fit([{**ROW, "output": "不知道。"}], epochs=1)
    assert not torch.equal(model.lm.model.transformer.wte.weight, frozen)  # every weight again


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        ("lara", "type: input should be 'none'"),
        ({"rnk": 4}, "unknown key 'rnk'; did you mean 'rank'"),
        ({"target_modules": ["query"]}, "'query' is no linear layer .* it has c_attn"),
    ],
)
def test_an_adapter_that_cannot_be_is_refused(gpt2, adapter, message):
    model = InstructGPT.load(gpt2)
    with pytest.raises(ConfigError, match=message):
        model.fit([ROW], adapter=adapter)
    with pytest.raises(ConfigError, match=message):
        model.align([{"prompt": q, "chosen": "y", "rejected": "n"} for q in "abc"], adapter=adapter)
