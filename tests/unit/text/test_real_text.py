"""Real conversations through a tokenizer trained on real text."""

from __future__ import annotations

import json

import pytest

from instructgpt.data.readers import load_demonstrations, load_documents
from instructgpt.data.records import Message
from instructgpt.text.chat_template import ChatRenderer
from instructgpt.text.rows import text_rows
from instructgpt.text.templates import TEMPLATES
from instructgpt.text.tokenizer import adapt_tokenizer, train_bpe


@pytest.fixture(scope="module")
def documents(request):
    folder = request.getfixturevalue("real_data")
    loaded = load_documents(folder / "pretrain_en" / "gutenberg" / "11-0.txt")
    return [d.text for d in loaded.records]


@pytest.mark.parametrize("template", TEMPLATES)
def test_real_dialogues_are_prompt_answer_end_and_read_back(real_data, documents, template):
    tokenizer = train_bpe(documents, 800)
    adapt_tokenizer(tokenizer, template)
    renderer = ChatRenderer(tokenizer)
    demonstrations = [
        *load_demonstrations(real_data / "sft_en/llamafactory/alpaca_en_demo.json").records[:60],
        *load_demonstrations(
            real_data / "sft_zh/chatglm_efficient_tuning/oaast_sft_zh.json"
        ).records[-60:],
    ]
    assert any(len(d.messages) > 2 for d in demonstrations)
    for demonstration in demonstrations:
        prompt = renderer.prompt_ids(demonstration.prompt.messages)
        answer = tokenizer(demonstration.completion, add_special_tokens=False)["input_ids"]
        ids, mask = renderer.dialogue_ids(demonstration.messages, "last")
        assert ids == [*prompt, *answer, renderer.stop_ids[0]]
        assert sum(mask) == len(answer) + 1
        assert renderer.decode(answer) == demonstration.completion


def test_special_tokens_that_real_people_typed_stay_text(real_data, documents):
    """Rows 140 and 258 of this file hold `</s>` and `<|user|>` in their text."""
    tokenizer = train_bpe(documents, 400)
    tokenizer.add_special_tokens(
        {"extra_special_tokens": ["</s>"]}, replace_extra_special_tokens=False
    )
    renderer = ChatRenderer(tokenizer)
    rows = json.loads((real_data / "pref/llamafactory/kto_en_demo.json").read_bytes())
    for row, typed in ((rows[139], "</s>"), (rows[257], "<|user|>")):
        assert typed in str(row["messages"])
        turns = [Message.from_dict(message) for message in row["messages"]]
        ids, _mask = renderer.dialogue_ids(turns)
        control = [i for i in ids if i in set(tokenizer.all_special_ids)]
        # one token to open each turn and one to end it
        assert len(control) == 2 * len(turns)
        assert all(turn.content in renderer.decode(ids) for turn in turns)


def test_the_rows_of_a_book_are_the_book(documents):
    tokenizer = train_bpe(documents, 800)
    text = tokenizer.decode([i for row in text_rows(documents, tokenizer, 128) for i in row])
    # a separator alone in the last row of its document is dropped
    assert text.replace("<|endoftext|>", "") == "".join(documents)
    assert text.count("<|endoftext|>") >= 0.95 * len(documents)
