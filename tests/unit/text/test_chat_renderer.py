from __future__ import annotations

import threading

import pytest
from transformers import PreTrainedTokenizerFast

from instructgpt.data.records import Message
from instructgpt.errors import CheckpointError, DataError
from instructgpt.text.chat_template import ChatRenderer
from instructgpt.text.tokenizer import adapt_tokenizer, train_bpe

CORPUS = ["The cat sat on the mat. 猫坐在垫子上。 Hello there, how are you?"] * 4
DIALOGUE = (
    Message("system", "Be brief."),
    Message("user", "你好吗？"),
    Message("assistant", "很好。"),
    Message("user", "And the cat?"),
    Message("assistant", "On the mat."),
)
# ChatML as models ship it: no markers, a line break after the end token
UNMARKED = (
    "{% for m in messages %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def make_tokenizer(template="compact"):
    tokenizer = train_bpe(CORPUS, 330)
    adapt_tokenizer(tokenizer, template)
    return tokenizer


def with_template(template):
    tokenizer = make_tokenizer("chatml")
    tokenizer.chat_template = template
    tokenizer.name_or_path = "some/model"
    return tokenizer


def counted(tokenizer, ids, mask):
    """The counted stretches as text, special tokens included."""
    stretches, previous = [], False
    for token, counts in zip(ids, mask, strict=True):
        if counts:
            stretches = stretches if previous else [*stretches, []]
            stretches[-1].append(token)
        previous = counts
    return [tokenizer.decode(stretch) for stretch in stretches]


def test_a_turn_of_weight_0_is_context_and_never_counts():
    tokenizer = make_tokenizer()
    renderer = ChatRenderer(tokenizer)
    ids, _mask = renderer.dialogue_ids(DIALOGUE)
    weighted = (*DIALOGUE[:2], Message("assistant", "很好。", weight=0), *DIALOGUE[3:])
    for train_on, expected in (
        ("assistant", ["On the mat.<|end|>"]),
        ("last", ["On the mat.<|end|>"]),
    ):
        same, mask = renderer.dialogue_ids(weighted, train_on)
        assert same == ids
        assert counted(tokenizer, same, mask) == expected
    before, after = counted(tokenizer, *renderer.dialogue_ids(weighted, "all"))
    assert before.endswith("<|assistant|>")
    assert "很好" not in before + after


@pytest.mark.parametrize("template", ["compact", "chatml"])
def test_ids_and_mask_equal_those_of_transformers(template):
    tokenizer = make_tokenizer(template)
    turns = [message.to_dict() for message in DIALOGUE]
    theirs = tokenizer.apply_chat_template(
        turns, return_assistant_tokens_mask=True, return_dict=True
    )
    ids, mask = ChatRenderer(tokenizer).dialogue_ids(DIALOGUE)
    # theirs goes on with ChatML's line break after the last end token
    assert ids == theirs["input_ids"][: len(ids)]
    assert mask == [bool(m) for m in theirs["assistant_masks"][: len(ids)]]
    assert not any(theirs["assistant_masks"][len(ids) :])
    prompt = tokenizer.apply_chat_template(
        turns[:-1], add_generation_prompt=True, return_dict=False
    )
    assert ChatRenderer(tokenizer).prompt_ids(DIALOGUE[:-1]) == prompt


def test_text_of_the_compact_template():
    tokenizer = make_tokenizer()
    ids, _mask = ChatRenderer(tokenizer).dialogue_ids(DIALOGUE[1:3])
    assert tokenizer.decode(ids) == "<|user|>你好吗？<|end|><|assistant|>很好。<|end|>"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (
            "chatml",
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n你好吗？<|im_end|>\n"
            "<|im_start|>assistant\n很好。<|im_end|>\n<|im_start|>user\nAnd the cat?<|im_end|>\n"
            "<|im_start|>assistant\nOn the mat.<|im_end|>",
        ),
        (
            "alpaca",
            "Be brief.\n\n### Instruction:\n你好吗？\n\n### Response:\n很好。<|end|>\n\n"
            "### Instruction:\nAnd the cat?\n\n### Response:\nOn the mat.<|end|>",
        ),
        ("plain", "Be brief.\n\n你好吗？\n\n很好。<|end|>And the cat?\n\nOn the mat.<|end|>"),
    ],
)
def test_text_of_the_other_templates(template, text):
    tokenizer = make_tokenizer(template)
    assert tokenizer.decode(ChatRenderer(tokenizer).dialogue_ids(DIALOGUE)[0]) == text


def test_without_markers_the_mask_is_the_same_as_with_them():
    marked = ChatRenderer(make_tokenizer("chatml"))
    unmarked = ChatRenderer(with_template(UNMARKED))
    for train_on in ("assistant", "last", "all"):
        assert unmarked.dialogue_ids(DIALOGUE, train_on) == marked.dialogue_ids(DIALOGUE, train_on)
    assert unmarked.prompt_ids(DIALOGUE[:-1]) == marked.prompt_ids(DIALOGUE[:-1])
    assert unmarked.stop_ids == marked.stop_ids


def test_markers_around_the_text_alone_still_count_the_end_token():
    template = UNMARKED.replace(
        "m['content'] + '<|im_end|>' + '\n' }}",
        "'' }}{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}"
        "{% endgeneration %}{% else %}{{ m['content'] }}{% endif %}{{ '<|im_end|>\n' }}",
    )
    expected = ChatRenderer(make_tokenizer("chatml")).dialogue_ids(DIALOGUE)
    assert ChatRenderer(with_template(template)).dialogue_ids(DIALOGUE) == expected


def test_markers_that_take_in_the_line_break_do_not_count_it():
    template = UNMARKED.replace(
        "m['content'] + '<|im_end|>' + '\n' }}",
        "'' }}{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|im_end|>\n' }}"
        "{% endgeneration %}{% else %}{{ m['content'] + '<|im_end|>\n' }}{% endif %}",
    )
    expected = ChatRenderer(make_tokenizer("chatml")).dialogue_ids(DIALOGUE)
    assert ChatRenderer(with_template(template)).dialogue_ids(DIALOGUE) == expected


@pytest.mark.parametrize(
    ("template", "prompt", "answers"),
    [
        (
            # as Llama 2: instruction brackets, a space on either side of the answer
            "{% for m in messages %}{% if m['role'] == 'user' %}"
            "{{ '[INST] ' + m['content'].strip() + ' [/INST]' }}{% else %}"
            "{{ ' ' + m['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
            "[INST] Hi? [/INST]",
            [" Hello. <|im_end|>", " Bye. <|im_end|>"],
        ),
        (
            # as Gemma: another name for the assistant, contents stripped
            "{% for m in messages %}"
            "{% set name = 'model' if m['role'] == 'assistant' else 'user' %}"
            "{{ '<|im_start|>' + name + '\n' + m['content'] | trim + '<|im_end|>\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>model\n' }}{% endif %}",
            "<|im_start|>user\nHi?<|im_end|>\n<|im_start|>model\n",
            ["Hello.<|im_end|>", "Bye.<|im_end|>"],
        ),
    ],
    ids=["llama2", "gemma"],
)
def test_templates_of_other_families(template, prompt, answers):
    tokenizer = with_template(template)
    renderer = ChatRenderer(tokenizer)
    asked = [Message("user", " Hi? ")]
    turns = [*asked, Message("assistant", "Hello."), *asked, Message("assistant", " Bye.\n")]
    assert tokenizer.decode(renderer.prompt_ids(asked)) == prompt
    ids, mask = renderer.dialogue_ids(turns)
    assert counted(tokenizer, ids, mask) == answers
    assert ids[: len(renderer.prompt_ids(turns[:3]))] == renderer.prompt_ids(turns[:3])
    assert ids[-1] == renderer.stop_ids[0]


def test_what_is_trained_on_is_chosen():
    tokenizer = make_tokenizer("chatml")
    renderer = ChatRenderer(tokenizer)
    found = {
        train_on: counted(tokenizer, *renderer.dialogue_ids(DIALOGUE, train_on))
        for train_on in ("assistant", "last", "all")
    }
    assert found["assistant"] == ["很好。<|im_end|>", "On the mat.<|im_end|>"]
    assert found["last"] == ["On the mat.<|im_end|>"]
    [everything] = found["all"]
    assert everything.startswith("<|im_start|>system")
    assert everything.endswith("On the mat.<|im_end|>")


def test_decode_leaves_special_tokens_out():
    tokenizer = make_tokenizer()
    renderer = ChatRenderer(tokenizer)
    ids, mask = renderer.dialogue_ids(DIALOGUE, "last")
    answer = [token for token, counts in zip(ids, mask, strict=True) if counts]
    assert answer[-1] == renderer.stop_ids[0] == tokenizer.eos_token_id
    assert renderer.decode(answer) == "On the mat."
    assert renderer.decode([]) == ""


def test_stop_ids_are_the_end_token_first():
    tokenizer = make_tokenizer("chatml")
    tokenizer.eos_token = "<|end|>"
    names = tokenizer.convert_ids_to_tokens(list(ChatRenderer(tokenizer).stop_ids))
    assert names == ["<|im_end|>", "<|end|>", "<|endoftext|>"]


def test_a_prompt_and_a_dialogue_must_end_with_the_right_turn():
    renderer = ChatRenderer(make_tokenizer())
    for messages in (DIALOGUE[:2], ()):
        with pytest.raises(DataError, match="must end with an assistant turn"):
            renderer.dialogue_ids(messages)
    for messages in (DIALOGUE, ()):
        with pytest.raises(DataError, match="must end with a user turn"):
            renderer.prompt_ids(messages)


THINKING = UNMARKED.replace(
    "{{ '<|im_start|>assistant\n' }}", "{{ '<|im_start|>assistant\n<think>\n' }}"
)
STARTS_LATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (None, "'some/model' has no chat template; choose one"),
        (STARTS_LATE, "marks an assistant turn that does not begin where"),
        (UNMARKED.replace("<|im_end|>", ""), "writes no end token"),
        (UNMARKED.replace("<|im_end|>", "<stop>"), "writes no end token"),
        ("{% for m in messages %}", "is not valid Jinja"),
    ],
    ids=["none", "late", "no-end", "unknown-end", "broken"],
)
def test_templates_that_cannot_be_used_are_named(template, says):
    with pytest.raises(CheckpointError, match=says) as error:
        ChatRenderer(with_template(template))
    assert "\n" not in str(error.value)
    assert "choose" in str(error.value)


def test_a_template_that_opens_a_thought_can_ask_but_not_be_trained_on():
    renderer = ChatRenderer(with_template(THINKING))
    assert renderer.decode(renderer.prompt_ids(DIALOGUE[:2])).endswith("<think>\n")
    says = "the chat template of 'some/model' renders a prompt that is not the beginning"
    with pytest.raises(CheckpointError, match=says):
        renderer.dialogue_ids(DIALOGUE)


def test_a_template_that_drops_earlier_answers_is_refused_on_such_a_dialogue():
    # correct on the last turn; earlier answers are cut, as some reasoning templates do
    forgetful = UNMARKED.replace(
        "m['content']", "(m['content'] if loop.last else m['content'][:3])"
    )
    renderer = ChatRenderer(with_template(forgetful))
    short = (Message("user", "Hi."), Message("assistant", "Hello there."))
    assert renderer.dialogue_ids(short)[1][-1] is True
    with pytest.raises(CheckpointError, match="not the beginning of the finished dialogue"):
        renderer.dialogue_ids((Message("user", "Hello?"), *short[1:], *short))


def test_a_conversation_that_the_template_refuses_is_a_data_error():
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    renderer = ChatRenderer(with_template(strict + UNMARKED))
    with pytest.raises(DataError, match="refuses a conversation of system, user: no system"):
        renderer.prompt_ids(DIALOGUE[:2])


def test_earlier_calls_of_the_tokenizer_leave_no_trace():
    tokenizer = make_tokenizer()
    expected = ChatRenderer(tokenizer).dialogue_ids(DIALOGUE)
    tokenizer("a long text that is cut", truncation=True, max_length=2)
    tokenizer(["a", "b c d"], padding="max_length", max_length=9, split_special_tokens=True)
    assert ChatRenderer(tokenizer).dialogue_ids(DIALOGUE) == expected


def test_threads_do_not_disturb_each_other():
    renderer = ChatRenderer(make_tokenizer())
    expected = [renderer.dialogue_ids(DIALOGUE), renderer.dialogue_ids(DIALOGUE[1:3])]
    wrong = []

    def work():
        for _ in range(50):
            if [renderer.dialogue_ids(d) for d in (DIALOGUE, DIALOGUE[1:3])] != expected:
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_special_tokens_that_are_no_letters_start_are_found_too():
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=make_tokenizer().backend_tokenizer,
        eos_token="<|end|>",
        pad_token="<|pad|>",
    )
    tokenizer.add_special_tokens({"extra_special_tokens": ["[SEP]", "▁end▁"]})
    adapt_tokenizer(tokenizer, "plain")
    ids = ChatRenderer(tokenizer).prompt_ids([Message("user", "a[SEP]b▁end▁c")])
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert tokenizer.decode(ids) == "a[SEP]b▁end▁c\n\n"
