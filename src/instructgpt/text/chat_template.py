"""Conversations as token ids: the one renderer for training, rollouts and serving.

The text is the template's, but each assistant turn is encoded apart from what surrounds it. So the
ids of a finished dialogue are exactly the prompt's ids, then the answer's, then the end token: what
training sees is what generation continues, for every template and every tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from instructgpt.data.records import Message
from instructgpt.errors import CheckpointError, DataError

_PROBE = (Message("user", "ping"), Message("assistant", "pong"))


class ChatRenderer:
    """Renders messages with one tokenizer and its chat template.

    stop_ids: tokens that end a completion, the end of a turn first.
    Errors: CheckpointError when the tokenizer has no template, or one that rewrites earlier turns.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if tokenizer.chat_template is None:
            raise CheckpointError("the tokenizer has no chat template; name one of ours")
        self.tokenizer = tokenizer
        self._special = sorted(set(tokenizer.all_special_tokens), key=len, reverse=True)
        # K completions share a prompt, and an epoch repeats it
        self._prefix_ids = lru_cache(maxsize=8192)(self._encode_prefix)
        self.end_id = self._find_end()
        self.stop_ids = tuple(dict.fromkeys((self.end_id, int(tokenizer.eos_token_id))))

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Ids up to where the assistant's answer starts.

        Errors: DataError for a message that contains one of the tokenizer's special tokens, which
        would be read as a turn border.
        """
        return list(self._prefix_ids(tuple(messages)))

    def answer_ids(self, text: str) -> list[int]:
        """Ids of an assistant turn's text and the token that ends it."""
        self._refuse_special(text)
        return [*self._encode(text), self.end_id]

    def dialogue_ids(
        self, messages: Sequence[Message], train_on: Literal["assistant", "last", "all"]
    ) -> tuple[list[int], list[bool]]:
        """Ids of a dialogue that ends with an assistant turn, and the mask of what is learned.

        The mask covers the text of assistant turns and the token that ends each ("assistant"),
        of the last one only ("last"), or every token ("all"). Nothing follows the last end token.
        """
        if not messages or messages[-1].role != "assistant":
            raise DataError("a dialogue to learn from must end with an assistant turn")
        prompt = self.prompt_ids(messages[:-1])
        answer = self.answer_ids(messages[-1].content)
        ids = [*prompt, *answer]
        mask = [train_on == "all"] * len(prompt) + [True] * len(answer)
        if train_on == "assistant":
            self._mark_earlier_turns(messages, ids, mask)
        return ids, mask

    def _mark_earlier_turns(
        self, messages: Sequence[Message], ids: list[int], mask: list[bool]
    ) -> None:
        for turn, message in enumerate(messages[:-1]):
            if message.role != "assistant":
                continue
            start = len(self.prompt_ids(messages[:turn]))
            answer = self.answer_ids(message.content)
            if ids[start : start + len(answer)] != answer:
                raise CheckpointError(
                    "this chat template renders earlier turns differently once more follow, so "
                    "learning from them would not match inference; use loss_on=last, or another "
                    "chat_template"
                )
            mask[start : start + len(answer)] = [True] * len(answer)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of completion ids, without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _encode_prefix(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        """Ids of a prompt; earlier assistant turns are encoded just as they are learned."""
        text = self._prompt_text(messages)
        turns = [i for i, message in enumerate(messages) if message.role == "assistant"]
        if turns:
            earlier, answer = messages[: turns[-1]], messages[turns[-1]].content
            before = self._prompt_text(earlier) + answer + self._end_text
            if text.startswith(before):
                rest = self._encode(text[len(before) :])
                return (*self._prefix_ids(earlier), *self.answer_ids(answer), *rest)
        return tuple(self._encode(text))

    def _prompt_text(self, messages: tuple[Message, ...]) -> str:
        for message in messages:
            self._refuse_special(message.content)
        return self._render(messages, add_generation_prompt=True)

    def _find_end(self) -> int:
        """The token that ends an assistant turn, seen in a rendered dialogue; EOS if there is none."""
        prompt = self._render(_PROBE[:1], add_generation_prompt=True)
        whole = self._render(_PROBE, add_generation_prompt=False)
        start = prompt + _PROBE[1].content
        tail = whole[len(start) :] if whole.startswith(start) else ""
        ids = self._encode(tail)
        special = set(self.tokenizer.all_special_ids)
        end = int(ids[0]) if ids and ids[0] in special else int(self.tokenizer.eos_token_id)
        text = self.tokenizer.convert_ids_to_tokens(end)
        self._end_text = str(text) if tail.startswith(str(text)) else ""
        return end

    def _render(self, messages: tuple[Message, ...], *, add_generation_prompt: bool) -> str:
        try:
            text = self.tokenizer.apply_chat_template(
                [m.to_dict() for m in messages],
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
            )
        except TemplateError as error:
            raise DataError(f"the chat template refuses this conversation: {error}") from error
        return str(text)

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _refuse_special(self, text: str) -> None:
        for token in self._special:
            if token in text:
                raise DataError(
                    f"a message contains '{token}', a special token of this tokenizer, which "
                    f"would be read as a turn border: {text[:60]!r}"
                )
