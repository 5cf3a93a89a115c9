"""Chat templates as model families structure them, without generation markers and with them.

The strings are ours and reproduce each family's structure only: names of roles, where line breaks
and spaces stand, what is stripped, what a system turn becomes. Special tokens are shared.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructgpt.data.records import Message
from instructgpt.errors import CheckpointError
from instructgpt.text.chat_template import ChatRenderer
from instructgpt.text.tokenizer import train_bpe

CORPUS = ["The cat sat on the mat. 猫坐在垫子上。 Hello there, how are you?"] * 4


def turns(before: str, after: str, opening: str, content: str = "m['content']") -> str:
    """A template that writes `before`, the content and `after` for every turn."""
    return (
        "{% for m in messages %}"
        f"{{{{ {before} }}}}"
        "{% if m['role'] == 'assistant' %}<generation>"
        f"{{{{ {content} + {after} }}}}</generation>"
        f"{{% else %}}{{{{ {content} + {after} }}}}{{% endif %}}"
        "{% endfor %}"
        f"{{% if add_generation_prompt %}}{{{{ {opening} }}}}{{% endif %}}"
    )


CHATML = turns(
    "'<|im_start|>' + m['role'] + '\\n'", "'<|im_end|>\\n'", "'<|im_start|>assistant\\n'"
)
INSTRUCT = (
    "{{% set ns = namespace(system='') %}}{{% for m in messages %}}"
    "{{% if m['role'] == 'system' %}}{{% set ns.system = {system} %}}"
    "{{% elif m['role'] == 'user' %}}"
    "{{{{ '{bos}[INST]{space}' + ns.system + m['content'] + '{space}[/INST]' }}}}"
    "{{% set ns.system = '' %}}"
    "{{% else %}}<generation>{{{{ {answer} + '</s>' }}}}</generation>{{% endif %}}{{% endfor %}}"
)
FAMILIES = {
    "chatml": CHATML,
    "qwen2": "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nBe helpful.<|im_end|>\\n' }}{% endif %}" + CHATML,
    "llama2": INSTRUCT.format(
        bos="<s>", space=" ", answer="' ' + m['content'] + ' '",
        system="'<<SYS>>\\n' + m['content'] + '\\n<</SYS>>\\n\\n'",
    ),
    "mistral": "<s>" + INSTRUCT.format(
        bos="", space=" ", answer="m['content']", system="m['content'] + '\\n\\n'"
    ),
    "llama3": "<s>" + turns(
        "'<|header|>' + m['role'] + '<|header_end|>\\n\\n'", "'<|eot|>'",
        "'<|header|>assistant<|header_end|>\\n\\n'", "m['content'] | trim",
    ),
    "gemma": "<s>" + turns(
        "'<|turn|>' + ('model' if m['role'] == 'assistant' else 'user') + '\\n'",
        "'<|eot|>\\n'", "'<|turn|>model\\n'", "m['content'] | trim",
    ),
    "phi3": turns("'<|' + m['role'] + '|>\\n'", "'<|eot|>\\n'", "'<|assistant|>\\n'"),
    "zephyr": turns("'<|' + m['role'] + '|>\\n'", "'</s>\\n'", "'<|assistant|>\\n'"),
    "vicuna": "{% for m in messages %}{% if m['role'] == 'assistant' %}"
    "{{ 'ASSISTANT:' }}<generation>{{ ' ' + m['content'] + '</s>' }}</generation>"
    "{% elif m['role'] == 'user' %}{{ 'USER: ' + m['content'] + ' ' }}"
    "{% else %}{{ m['content'] + ' ' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}",
    "deepseek": "<s>{% for m in messages %}{% if m['role'] == 'assistant' %}"
    "{{ '<|assistant|>' }}<generation>{{ m['content'] + '</s>' }}</generation>"
    "{% elif m['role'] == 'user' %}{{ '<|user|>' + m['content'] }}"
    "{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
}  # fmt: skip
FAMILIES["qwen3"] = CHATML.replace(
    "{{ m['content'] + '<|im_end|>\\n' }}</generation>",
    "{{ (m['content'].split('</think>')[-1] if not loop.last else m['content'])"
    " + '<|im_end|>\\n' }}</generation>",
)
# GLM ends a turn with the next speaker's token: nothing stands after the last answer
GLM = (
    "[gMASK]{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
STRIPS = {"llama3": str.strip, "gemma": str.strip}
LEADS = {"llama2": (" ", " "), "vicuna": (" ", "")}
SPECIALS = [
    "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|eot|>", "<|header|>", "<|header_end|>",
    "<|turn|>", "[gMASK]",
]  # fmt: skip


def make_renderer(template: str, marked: bool = False) -> ChatRenderer:
    tokenizer = train_bpe(CORPUS, 300)
    tokenizer.add_special_tokens(
        {"extra_special_tokens": SPECIALS}, replace_extra_special_tokens=False
    )
    for tag in ("generation", "/generation"):
        jinja = tag.replace("/", "end")
        template = template.replace(f"<{tag}>", f"{{% {jinja} %}}" if marked else "")
    tokenizer.chat_template = template
    return ChatRenderer(tokenizer)


@pytest.fixture(scope="module")
def renderers() -> dict[tuple[str, bool], ChatRenderer]:
    return {
        (name, marked): make_renderer(template, marked)
        for name, template in FAMILIES.items()
        for marked in (False, True)
    }


text = st.lists(
    st.sampled_from(
        ["Hello", " there", "猫坐在", "垫子上。", "\n", " ", "  ", "？", "1 + 1", "😀", "USER: ",
         "[INST]", "</s>", "<|im_end|>", "<|eot|>", "<|assistant|>", "\t"]
    ),
    max_size=6,
).map("".join)  # fmt: skip


@pytest.mark.parametrize("marked", [False, True], ids=["unmarked", "marked"])
@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(system=st.none() | text, said=st.lists(st.tuples(text, text), min_size=1, max_size=3))
def test_training_text_is_the_prompt_the_answer_and_the_end(
    renderers: dict[tuple[str, bool], ChatRenderer],
    name: str,
    marked: bool,
    system: str | None,
    said: list[tuple[str, str]],
) -> None:
    renderer = renderers[name, marked]
    messages = [] if system is None else [Message("system", system)]
    for question, answer in said:
        messages += [Message("user", question), Message("assistant", answer)]
    ids, mask = renderer.dialogue_ids(messages)
    prompt, end = renderer.prompt_ids(messages[:-1]), renderer.stop_ids[0]
    assert ids[: len(prompt)] == prompt
    assert ids[-1] == end
    answers = [STRIPS.get(name, str)(answer) for _, answer in said]
    before, after = LEADS.get(name, ("", ""))
    assert renderer.tokenizer.decode(ids[len(prompt) :]) == (
        before + answers[-1] + after + renderer.tokenizer.decode([end])
    )
    # every answer's end token counts, and nobody's text is one
    counted = [token for token, counts in zip(ids, mask, strict=True) if counts]
    assert counted.count(end) == len(said)
    last, last_mask = renderer.dialogue_ids(messages, "last")
    assert last == ids
    assert last_mask == [False] * len(prompt) + [True] * (len(ids) - len(prompt))


def test_a_template_without_an_end_after_the_answer_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"writes no end token .* choose another with"):
        make_renderer(GLM)


@pytest.mark.parametrize("marked", [False, True], ids=["unmarked", "marked"])
def test_a_template_that_drops_earlier_thoughts_is_refused_where_it_matters(marked: bool) -> None:
    """Learning its earlier turns would teach the model to answer without the thought."""
    renderer = make_renderer(FAMILIES["qwen3"], marked)
    thought = [Message("user", "Hi"), Message("assistant", "<think>hm</think>Hello")]
    assert renderer.decode(renderer.dialogue_ids(thought)[0]).endswith("<think>hm</think>Hello")
    for train_on in ("assistant", "all"):
        with pytest.raises(CheckpointError, match=r"rewrites an earlier answer .* loss_on: last"):
            renderer.dialogue_ids([*thought, *thought], train_on)
    ids, mask = renderer.dialogue_ids([*thought, *thought], "last")
    assert renderer.decode(ids).count("<think>") == 1
    counted = [token for token, counts in zip(ids, mask, strict=True) if counts]
    assert renderer.decode(counted) == "<think>hm</think>Hello"
