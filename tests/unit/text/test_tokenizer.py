from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, ByT5Tokenizer, PreTrainedTokenizerFast

from instructgpt.errors import CheckpointError, ConfigError, DataError
from instructgpt.text.chat_template import ChatRenderer
from instructgpt.text.encoding import special_texts
from instructgpt.text.templates import TEMPLATES
from instructgpt.text.tokenizer import adapt_tokenizer, load_tokenizer, train_bpe

CORPUS = [
    "The cat sat on the mat, and the dog sat on the cat. It's 7 o'clock!",
    "人工智能是一门研究如何使用计算机模拟人类智能的科学。猫坐在垫子上。",
    "Wer reitet so spät durch Nacht und Wind? 😀\n\n\tdef f(x):\n\t\treturn x**2\n",
] * 3


@pytest.fixture
def trained():
    return train_bpe(CORPUS, 350)


def bare_tokenizer(*specials, bos_first=False, **roles):
    """A byte-level tokenizer with these special tokens only, and no chat template."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    )
    backend.add_special_tokens([AddedToken(text, special=True) for text in specials])
    if bos_first:
        bos = roles["bos_token"]
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=backend, **roles)


def gpt2_like():
    end = "<|endoftext|>"
    return bare_tokenizer(end, bos_token=end, eos_token=end, unk_token=end)


def test_a_gpt2_like_tokenizer_gets_a_pad_of_its_own_and_a_plain_template():
    tokenizer = gpt2_like()
    size = len(tokenizer)
    done = adapt_tokenizer(tokenizer)
    assert (done.pad_token, done.template, done.added_tokens) == ("<|pad|>", "plain", ("<|pad|>",))
    assert tokenizer.pad_token_id == size != tokenizer.eos_token_id
    assert len(tokenizer) == size + 1
    assert tokenizer.eos_token == "<|endoftext|>"
    assert tokenizer.padding_side == "right"


@pytest.mark.parametrize(
    ("specials", "roles", "pad"),
    [
        (["</s>", "<pad>"], {"eos_token": "</s>"}, "<pad>"),
        (["</s>", "<pad>"], {"eos_token": "</s>", "pad_token": "</s>"}, "<pad>"),
        (["<|eot|>", "<|finetune_right_pad_id|>"], {"eos_token": "<|eot|>"}, "<|finetune_right_pa"),
        (["</s>", "<unk>"], {"eos_token": "</s>", "unk_token": "<unk>"}, "<unk>"),
        (["<|im_end|>", "<|endoftext|>"], {"eos_token": "<|im_end|>"}, "<|endoftext|>"),
        (["</s>", "[X]"], {"eos_token": "</s>", "pad_token": "[X]"}, "[X]"),
    ],
)
def test_an_existing_distinct_token_is_the_pad_and_nothing_is_added(specials, roles, pad):
    tokenizer = bare_tokenizer(*specials, **roles)
    done = adapt_tokenizer(tokenizer)
    assert done.pad_token.startswith(pad)
    assert done.added_tokens == ()
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_a_tokenizer_with_its_own_template_keeps_it():
    tokenizer = bare_tokenizer("</s>", "<pad>", eos_token="</s>", pad_token="<pad>")
    tokenizer.chat_template = own = "{% for m in messages %}{{ m['content'] + '</s>' }}{% endfor %}"
    assert adapt_tokenizer(tokenizer).template is None
    assert tokenizer.chat_template == own
    assert adapt_tokenizer(tokenizer, "alpaca").template == "alpaca"


def test_a_template_with_markers_adds_them_as_single_tokens_and_ends_with_its_own_end():
    tokenizer = gpt2_like()
    done = adapt_tokenizer(tokenizer, "chatml")
    assert done.added_tokens == ("<|im_end|>", "<|im_start|>", "<|pad|>")
    assert tokenizer.eos_token == "<|im_end|>"
    for token in done.added_tokens:
        assert len(tokenizer(token)["input_ids"]) == 1
    # documents of the base model still end with the token it knows, and that ends answers too
    ids = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    assert ChatRenderer(tokenizer).stop_ids == tuple(ids)


def test_a_template_whose_tokens_are_there_adds_nothing():
    tokenizer = bare_tokenizer(
        "<|endoftext|>", "<|im_start|>", "<|im_end|>", eos_token="<|endoftext|>"
    )
    done = adapt_tokenizer(tokenizer, "chatml")
    assert done.added_tokens == ()
    assert (tokenizer.eos_token, done.pad_token) == ("<|im_end|>", "<|endoftext|>")


def test_adding_markers_keeps_the_special_tokens_that_were_there():
    tokenizer = bare_tokenizer("</s>", "<pad>", "<mask>", eos_token="</s>", pad_token="<pad>")
    adapt_tokenizer(tokenizer, "compact")
    assert {"</s>", "<pad>", "<mask>"} < set(special_texts(tokenizer))
    ids = tokenizer("a</s>b<mask>c<|user|>")["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "abc"


def test_a_bos_that_the_tokenizer_writes_stands_before_the_template():
    tokenizer = bare_tokenizer(
        "<s>", "</s>", "<unk>", bos_first=True,
        bos_token="<s>", eos_token="</s>", unk_token="<unk>",
    )  # fmt: skip
    done = adapt_tokenizer(tokenizer)
    assert done.template == "plain"
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], return_dict=False)
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1


def test_a_tokenizer_that_is_python_alone_is_refused():
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json"):
        adapt_tokenizer(ByT5Tokenizer())


def test_adapting_survives_saving_and_loading(tmp_path, trained):
    adapted = gpt2_like()
    adapt_tokenizer(adapted, "chatml")
    for name, tokenizer in [("adapted", adapted), ("trained", trained)]:
        tokenizer.save_pretrained(tmp_path / name)
        again = load_tokenizer(tmp_path / name)
        assert again.chat_template == tokenizer.chat_template
        assert again.get_vocab() == tokenizer.get_vocab()
        assert again.special_tokens_map == tokenizer.special_tokens_map
        assert set(again.all_special_tokens) == set(tokenizer.all_special_tokens)


def test_a_template_file_is_read(tmp_path):
    path = tmp_path / "own.jinja"
    path.write_text(TEMPLATES["alpaca"].replace("Instruction", "问题"), encoding="utf-8")
    tokenizer = gpt2_like()
    assert adapt_tokenizer(tokenizer, str(path)).template is None
    assert "### 问题:" in tokenizer.chat_template


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("chatlm", "no chat template 'chatlm' .did you mean 'chatml'"),
        ("zzz", "there are compact, chatml, alpaca, plain"),
        ("gone.jinja", "cannot read chat template 'gone.jinja'"),
    ],
)
def test_unknown_templates(template, says):
    with pytest.raises(ConfigError, match=says):
        adapt_tokenizer(gpt2_like(), template)


def test_no_tokenizer_and_no_eos(tmp_path):
    with pytest.raises(CheckpointError, match="no tokenizer in") as error:
        load_tokenizer(tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(CheckpointError, match="no end-of-sequence token"):
        adapt_tokenizer(bare_tokenizer("<pad>", pad_token="<pad>"))


def test_training_makes_the_special_tokens_first(trained):
    assert trained.convert_ids_to_tokens(list(range(6))) == [
        "<|endoftext|>", "<|pad|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>",
    ]  # fmt: skip
    assert (trained.eos_token_id, trained.pad_token_id) == (5, 1)
    assert trained.bos_token is None
    assert set(range(6)) == set(trained.all_special_ids)
    assert adapt_tokenizer(trained).added_tokens == ()
    assert ChatRenderer(trained).stop_ids == (5, 0)


def test_any_text_survives_encoding(trained):
    for text in (*CORPUS, "𠮷野家 \u2028 \x00 ﬁ ́e", "  two  spaces ", " 'tis", "مرحبا", "\r\n\n"):
        ids = trained(text, add_special_tokens=False)["input_ids"]
        assert trained.decode(ids) == text


def test_words_are_cut_as_gpt2_cuts_them_and_han_one_by_one(trained):
    text = "It's 42 cats,  人工!"
    pieces = trained.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)
    cut = [text[start:end] for _bytes, (start, end) in pieces]
    assert cut == ["It", "'s", " 42", " cats", ",", "  ", "人", "工", "!"]


def test_training_learns_and_respects_the_size(trained):
    assert len(trained) == 350
    # one token per frequent word, space included
    assert len(trained(" the cat")["input_ids"]) == 2
    assert len(train_bpe(["abab" * 50], 5000)) < 300


def test_training_twice_gives_the_same_tokenizer_in_every_process():
    program = (
        "import hashlib\n"
        "from instructgpt.text.tokenizer import train_bpe\n"
        f"tokenizer = train_bpe({CORPUS!r}, 350)\n"
        "print(hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest())\n"
    )
    here = hashlib.sha256(train_bpe(CORPUS, 350).backend_tokenizer.to_str().encode()).hexdigest()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "7"}
    there = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert there.stdout.strip() == here


def test_training_refuses_no_text_and_a_tiny_vocabulary():
    with pytest.raises(DataError, match="no text to train"):
        train_bpe([], 400)
    with pytest.raises(DataError, match="no text to train"):
        train_bpe(iter(["", ""]), 400)
    with pytest.raises(ConfigError, match="use at least 262"):
        train_bpe(CORPUS, 261)
    assert len(train_bpe(CORPUS, 262)) == 262


def test_saved_files_are_plain_and_load_with_transformers_alone(tmp_path, trained):
    trained.save_pretrained(tmp_path)
    plain = AutoTokenizer.from_pretrained(tmp_path)
    turns = [{"role": "user", "content": "猫?"}, {"role": "assistant", "content": "The cat."}]
    text = plain.apply_chat_template(turns, tokenize=False)
    assert text == "<|user|>猫?<|end|><|assistant|>The cat.<|end|>"
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["eos_token"] == "<|end|>"
