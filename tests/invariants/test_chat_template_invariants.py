"""What must hold of every chat template and every kind of tokenizer.

dialogue ids == prompt ids + answer ids + [end]; the mask is exactly the assistant's text and its
end tokens; nobody's text becomes a control token; what was written is what is read back.
"""

from __future__ import annotations

import random

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from instructgpt.data.records import Message
from instructgpt.text.chat_template import ChatRenderer
from instructgpt.text.encoding import special_texts
from instructgpt.text.templates import TEMPLATES
from instructgpt.text.tokenizer import adapt_tokenizer, train_bpe

CORPUS = [
    "Hello there, how are you today? The cat sat on the mat.\n\nWhat is 1 + 1? It's 2!",
    "你好，请问什么是人工智能？人工智能是一门科学。猫坐在垫子上。",
] * 4
CHATML_WITHOUT_MARKERS = (
    TEMPLATES["chatml"].replace("{% generation %}", "").replace("{% endgeneration %}", "")
)


def trained(template):
    tokenizer = train_bpe(CORPUS, 340)
    adapt_tokenizer(tokenizer, template)
    return tokenizer


def without_markers():
    tokenizer = trained("chatml")
    tokenizer.chat_template = CHATML_WITHOUT_MARKERS
    return tokenizer


def gpt2_like():
    """One special token that is EOS, BOS and unknown at once; no pad, no template."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    )
    end = "<|endoftext|>"
    backend.add_special_tokens([AddedToken(end, special=True)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=end, eos_token=end, unk_token=end
    )
    adapt_tokenizer(tokenizer)
    return tokenizer


def llama_like(scheme):
    """Words that begin with a visible space, one put before the text; BOS; bytes as a fallback."""
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    backend.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=420, special_tokens=specials, show_progress=False)
    )
    backend = Tokenizer.from_str(backend.to_str().replace('"special":true', '"special":false'))
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", backend.token_to_id("<s>"))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    adapt_tokenizer(tokenizer, "alpaca")
    return tokenizer


FAMILIES = {
    **{name: lambda name=name: trained(name) for name in TEMPLATES},
    "unmarked": without_markers,
    "gpt2": gpt2_like,
    "llama": lambda: llama_like("first"),
}


@pytest.fixture(scope="module", params=FAMILIES)
def renderer(request):
    return ChatRenderer(FAMILIES[request.param]())


WORDS = [
    "Hello", " there", "猫", "坐在", "垫子上。", "\n", "\n\n", " ", "  ", "？", "1 + 1", "!", "😀",
    "\t", "𠮷", "é", "'s", "### Response:\n", "Human:", "the", "{{ eos_token }}", "{% endfor %}",
]  # fmt: skip


def conversations(specials=(), number=60):
    """Random conversations of one to three exchanges, some with a system turn."""
    generator = random.Random(11)

    def text():
        return "".join(generator.choices([*WORDS, *specials], k=generator.randint(1, 8)))

    for index in range(number):
        turns = [Message("system", text())] if index % 3 == 0 else []
        for _ in range(index % 3 + 1):
            turns += [Message("user", text()), Message("assistant", text())]
        yield tuple(turns)


def answer_ids(renderer, text):
    """Ids of an answer as the tokenizer itself would continue a line with it."""
    tokenizer = renderer.tokenizer
    anchor = tokenizer(tokenizer.eos_token, add_special_tokens=False)["input_ids"]
    whole = tokenizer(tokenizer.eos_token + text, add_special_tokens=False)["input_ids"]
    assert whole[: len(anchor)] == anchor
    return whole[len(anchor) :]


def stretches(ids, mask):
    """The counted stretches of ids."""
    found, inside = [], False
    for token, counts in zip(ids, mask, strict=True):
        if counts:
            found = found if inside else [*found, []]
            found[-1].append(token)
        inside = counts
    return found


def test_a_dialogue_is_its_prompt_its_answer_and_the_end(renderer):
    end = renderer.stop_ids[0]
    for turns in conversations():
        expected = [
            *renderer.prompt_ids(turns[:-1]), *answer_ids(renderer, turns[-1].content), end,
        ]  # fmt: skip
        for train_on in ("assistant", "last", "all"):
            assert renderer.dialogue_ids(turns, train_on)[0] == expected


def test_the_next_prompt_begins_with_the_finished_dialogue(renderer):
    """So an answer is tokenized the same when it was sampled, learned, and later read."""
    for turns in conversations():
        ids, _mask = renderer.dialogue_ids(turns)
        longer = renderer.prompt_ids([*turns, Message("user", "And now?")])
        assert longer[: len(ids)] == ids


def test_the_mask_is_the_answers_and_their_ends(renderer):
    end = renderer.stop_ids[0]
    for turns in conversations():
        answers = [
            [*answer_ids(renderer, turn.content), end] for turn in turns if turn.role == "assistant"
        ]
        assert stretches(*renderer.dialogue_ids(turns, "assistant")) == answers
        assert stretches(*renderer.dialogue_ids(turns, "last")) == answers[-1:]
        ids, mask = renderer.dialogue_ids(turns, "all")
        assert stretches(ids, mask) == [ids]


def test_end_is_there_once_per_answer_and_last(renderer):
    end, pad = renderer.stop_ids[0], renderer.tokenizer.pad_token_id
    assert pad not in renderer.stop_ids
    for turns in conversations():
        ids, mask = renderer.dialogue_ids(turns)
        assert ids[-1] == end
        assert mask[-1] is True
        assert pad not in ids
        counted = [token for token, counts in zip(ids, mask, strict=True) if counts]
        assert counted.count(end) == sum(turn.role == "assistant" for turn in turns)


def test_answers_are_read_back_as_they_were_written(renderer):
    for turns in conversations():
        for turn in turns:
            ids, mask = renderer.dialogue_ids(
                [Message("user", "Hi"), Message("assistant", turn.content)]
            )
            answer = [token for token, counts in zip(ids, mask, strict=True) if counts]
            assert renderer.decode(renderer.prompt_ids([Message("user", "x")]) + answer).endswith(
                turn.content
            )


def test_chinese_goes_through_unharmed(renderer):
    text = "人工智能是一门研究如何使用计算机模拟、延伸和扩展人类智能的科学。𠮷野家😀"
    ids, _mask = renderer.dialogue_ids([Message("user", text), Message("assistant", text)])
    assert renderer.decode(ids).count(text) == 2


def test_special_token_text_never_becomes_a_control_token(renderer):
    """The same control tokens, in the same order, as with harmless text in its place."""
    tokenizer = renderer.tokenizer
    specials = special_texts(tokenizer)
    control = set(tokenizer.convert_tokens_to_ids(specials))
    harmless = {special: f"x{number}" for number, special in enumerate(specials)}
    for turns in conversations(specials):
        plain = []
        for turn in turns:
            content = turn.content
            for special, word in harmless.items():
                content = content.replace(special, word)
            plain.append(Message(turn.role, content))
        ids, mask = renderer.dialogue_ids(turns)
        plain_ids, plain_mask = renderer.dialogue_ids(plain)
        assert [t for t in ids if t in control] == [t for t in plain_ids if t in control]
        assert len(stretches(ids, mask)) == len(stretches(plain_ids, plain_mask))
        prompt = renderer.prompt_ids(turns[:-1])
        assert ids[: len(prompt)] == prompt


def test_special_token_text_is_read_back(renderer):
    for special in special_texts(renderer.tokenizer):
        text = f"write {special} twice: {special}{special}\ufffd\U000f0000."
        ids, _mask = renderer.dialogue_ids([Message("user", text), Message("assistant", text)])
        assert renderer.decode(ids).count(text) == 2


def test_rendering_again_or_in_another_order_changes_nothing(renderer):
    turns = list(conversations())
    first = [renderer.dialogue_ids(t) for t in turns]
    again = ChatRenderer(renderer.tokenizer)
    assert [again.dialogue_ids(t) for t in reversed(turns)] == first[::-1]
