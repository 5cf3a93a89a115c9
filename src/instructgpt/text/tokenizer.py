"""Tokenizers: loading one and making it fit for chat, or training one from text."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from instructgpt.errors import CheckpointError, ConfigError, DataError
from instructgpt.text.encoding import DOCUMENT_SEPARATOR, added_bos, special_texts
from instructgpt.text.templates import COMPACT, TEMPLATE_TOKENS, TEMPLATES, template_name

logger = logging.getLogger(__name__)

DEFAULT_TEMPLATE = "plain"
PAD = "<|pad|>"
SPECIAL_TOKENS = (DOCUMENT_SEPARATOR, PAD, "<|user|>", "<|assistant|>", "<|system|>", "<|end|>")
"""Special tokens of the tokenizers that we train, with ids 0 to 5."""

_BYTES = 256
_TWO_LINES = "a\nb"


@dataclass(frozen=True, slots=True)
class Adaptation:
    """What `adapt_tokenizer` decided: the pad token, the template's name (None: the tokenizer's
    own), and the tokens that it had to add. With added tokens, a model's embedding must grow to
    `len(tokenizer)` unless it already has spare rows.
    """

    pad_token: str
    template: str | None
    added_tokens: tuple[str, ...]


def load_tokenizer(source: str | Path, chat_template: str | None = None) -> PreTrainedTokenizerBase:
    """A tokenizer from a directory or hub name, made fit for chat by `adapt_tokenizer`.

    Errors: CheckpointError when there is none or it cannot be used, ConfigError for a template
    that does not exist.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(source))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"no tokenizer in '{source}': {reason}") from error
    done = adapt_tokenizer(tokenizer, chat_template)
    if done.added_tokens:
        logger.info("%s: added tokens %s", source, ", ".join(done.added_tokens))
    return tokenizer


def adapt_tokenizer(
    tokenizer: PreTrainedTokenizerBase, chat_template: str | None = None
) -> Adaptation:
    """Give a tokenizer, in place, a chat template and a pad token distinct from every end token.

    Template: `chat_template` (one of TEMPLATES or a .jinja file) if given, else the tokenizer's
    own, else "plain": prompt, blank line, answer, EOS, as InstructGPT did. Its turn markers are
    ordinary text and its end is the EOS that the model knows, so nothing has to be added. A named
    template with special tokens adds those that are missing, and its end token becomes EOS.

    Pad: the tokenizer's own if it is no end token; else an existing special token with "pad" in
    its name, <|endoftext|>, or the unknown token, whichever is first and no end token; else
    "<|pad|>" is added. Padding is on the right.

    A tokenizer that drops line breaks (T5's) is warned of. Errors: CheckpointError for one that is
    Python alone, for one without an end token, and for one without line breaks where only they part
    a prompt from its answer.
    """
    if not tokenizer.is_fast:
        raise CheckpointError(
            f"the tokenizer of '{tokenizer.name_or_path}' has no tokenizer.json; "
            "convert it to a fast tokenizer first"
        )
    if tokenizer.eos_token is None:
        raise CheckpointError(
            f"the tokenizer of '{tokenizer.name_or_path}' has no end-of-sequence token; "
            "a model could never end an answer"
        )
    before = len(tokenizer)
    _set_template(tokenizer, chat_template)
    _set_pad(tokenizer)
    tokenizer.padding_side = "right"
    template = template_name(tokenizer.get_chat_template())
    _check_line_breaks(tokenizer, template)
    return Adaptation(
        pad_token=str(tokenizer.pad_token),
        template=template,
        added_tokens=tuple(tokenizer.convert_ids_to_tokens(list(range(before, len(tokenizer))))),
    )


def train_bpe(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with GPT-2's pre-tokenizer; encodes any text without loss.

    Han characters are cut apart first: a small vocabulary then spends its entries on words, and a
    character means the same everywhere (held-out loss 0.84 instead of 0.96 on the small world).
    `vocab_size` counts the 6 special tokens and 256 bytes; little text may give fewer. EOS is
    <|end|>, which ends a turn of the "compact" template; documents end with <|endoftext|>. The
    same texts in the same order give the same tokenizer. Errors: ConfigError for a vocabulary
    that cannot hold every byte, DataError when there is no text.
    """
    if vocab_size < len(SPECIAL_TOKENS) + _BYTES:
        raise ConfigError(
            f"vocab_size {vocab_size} cannot hold {len(SPECIAL_TOKENS)} special tokens and "
            f"{_BYTES} bytes; use at least {len(SPECIAL_TOKENS) + _BYTES}"
        )
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{Han}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(_not_empty(texts), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|end|>",
        pad_token=PAD,
        extra_special_tokens=[DOCUMENT_SEPARATOR, "<|user|>", "<|assistant|>", "<|system|>"],
        chat_template=COMPACT,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def _not_empty(texts: Iterable[str]) -> Iterator[str]:
    empty = True
    for text in texts:
        empty = empty and not text
        yield text
    if empty:
        raise DataError("no text to train a tokenizer on")


def _set_template(tokenizer: PreTrainedTokenizerBase, wanted: str | None) -> None:
    if wanted is None:
        if tokenizer.chat_template is not None:
            return
        wanted = DEFAULT_TEMPLATE
    if wanted in TEMPLATES:
        _add_template_tokens(tokenizer, TEMPLATE_TOKENS[wanted])
        bos = "" if added_bos(tokenizer) is None else "{{ bos_token }}"
        tokenizer.chat_template = bos + TEMPLATES[wanted]
    else:
        tokenizer.chat_template = _read_template(wanted)


def _add_template_tokens(tokenizer: PreTrainedTokenizerBase, tokens: tuple[str, ...]) -> None:
    if not tokens:
        return
    missing = [token for token in tokens if token not in special_texts(tokenizer)]
    if missing:
        tokenizer.add_special_tokens(
            {"extra_special_tokens": missing}, replace_extra_special_tokens=False
        )
    tokenizer.eos_token = tokens[0]


def _read_template(name: str) -> str:
    if not name.endswith((".jinja", ".jinja2")):
        close = difflib.get_close_matches(name, TEMPLATES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(TEMPLATES)}"
        raise ConfigError(f"no chat template {name!r} ({hint}); a file's name must end in .jinja")
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read chat template '{name}': {error}") from error


def _set_pad(tokenizer: PreTrainedTokenizerBase) -> None:
    ends = {tokenizer.eos_token, tokenizer.bos_token} | _written_by_template(tokenizer)
    if tokenizer.pad_token is not None and tokenizer.pad_token not in ends:
        return
    known = special_texts(tokenizer)
    candidates = [text for text in known if "pad" in text.lower()]
    candidates += [text for text in (DOCUMENT_SEPARATOR, tokenizer.unk_token) if text in known]
    usable = [text for text in candidates if text not in ends]
    if usable:
        tokenizer.pad_token = usable[0]
    else:
        tokenizer.add_special_tokens({"pad_token": PAD})


def _check_line_breaks(tokenizer: PreTrainedTokenizerBase, template: str | None) -> None:
    ids = tokenizer.encode(_TWO_LINES, add_special_tokens=False)
    if "\n" in tokenizer.decode(ids, clean_up_tokenization_spaces=False):
        return
    said = f"the tokenizer of '{tokenizer.name_or_path}' drops line breaks"
    if template == DEFAULT_TEMPLATE:
        raise CheckpointError(
            f"{said}, which alone part a prompt from its answer in chat template 'plain'; set "
            "chat_template: compact, or take a model with a byte-level tokenizer"
        )
    logger.warning(
        "%s: prompts are read and answers are written without them, so texts with paragraphs, "
        "lists or code need a model with another tokenizer",
        said,
    )


def _written_by_template(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    template = tokenizer.get_chat_template()
    return {text for text in special_texts(tokenizer) if text in template}
