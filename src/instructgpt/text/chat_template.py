"""Conversations as token ids with a loss mask: one renderer for training, rollouts and serving."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import jinja2
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from instructgpt.data.records import Message
from instructgpt.errors import CheckpointError, DataError
from instructgpt.text.encoding import TextEncoder, document_separator
from instructgpt.text.templates import TEMPLATES, template_name

__all__ = ["TEMPLATES", "ChatRenderer", "TrainOn"]

TrainOn = Literal["assistant", "last", "all"]

_GENERATION_MARKER = re.compile(r"\{%-?\s*generation\s*-?%\}")
_PRIVATE_USE = range(0xF0000, 0xFFFFE)
_QUESTION, _ANSWER = "Is this a probe?", "Yes, it is."

# A compiled template tracks one rendering at a time.
_render_lock = threading.Lock()


class _Span(NamedTuple):
    """Where an assistant turn stands in the rendered text, from its first character to its end."""

    start: int
    end: int


class _Rendered(NamedTuple):
    """A conversation as text; `stand_ins` maps characters in it to special-token strings that
    somebody typed; `rewrites` says that an answer before the last is not there as it was written.
    """

    text: str
    spans: list[_Span]
    stand_ins: dict[str, str]
    rewrites: bool


class ChatRenderer:
    """Renders messages with the tokenizer's chat template, and encodes turn by turn.

    dialogue_ids(prompt + answer) == prompt_ids(prompt) + encode(answer) + [end token], so what is
    sampled after a prompt is tokenized as it was in training. The assistant's turns come from the
    template's `{% generation %}` markers; without markers they are what follows the prompt that
    the template renders for generation, and every conversation is checked to begin with it.

    `prefixes` are virtual tokens that stand before every conversation, by its task; the one for ""
    is for all. Where they differ by task every call names one that exists.

    Text in messages that looks like a special token stays text. `stop_ids` are the tokens that end
    an answer: the template's end token first, then EOS and <|endoftext|> where they differ.

    Errors: CheckpointError when the template cannot be used: none there, no end token after an
    answer, or a prompt that is not the beginning of the finished dialogue.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        prefixes: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.prefixes = prefixes or {}
        if tokenizer.chat_template is None:
            raise CheckpointError(
                f"the tokenizer of '{tokenizer.name_or_path}' has no chat template; "
                f"choose one with chat_template: {', '.join(TEMPLATES)}, or a .jinja file"
            )
        self._template: str = tokenizer.get_chat_template()
        self._has_markers = _GENERATION_MARKER.search(self._template) is not None
        self._encoder = TextEncoder(tokenizer)
        self._end_token = self._find_end_token()
        self.stop_ids: tuple[int, ...] = self._find_stop_ids()
        if self._has_markers:
            self._check_markers()

    def prefix(self, task: str | None) -> list[int]:
        """The virtual tokens of a task. Errors: DataError for one that has none."""
        if not self.prefixes:
            return []
        found = self.prefixes.get("", self.prefixes.get(task or ""))
        if found is None:
            said = "none is named" if task is None else f"'{task}' is not one of them"
            raise DataError(f"the model knows the tasks {', '.join(self.prefixes)}; {said}")
        return list(found)

    def check_task(self, task: str | None) -> None:
        """Errors: DataError for a task that somebody chose and that makes no difference."""
        if task is not None and (not self.prefixes or "" in self.prefixes):
            raise DataError(f"task '{task}': this model has no soft prompts to choose from")

    def prompt_ids(self, messages: Sequence[Message], task: str | None = None) -> list[int]:
        """Ids of a conversation that ends with a user turn, up to where the answer begins."""
        if not messages or messages[-1].role != "user":
            raise DataError("a prompt must end with a user turn")
        rendered = self._render(messages, add_generation_prompt=True)
        words = [token for ids, _turn in self._pieces(rendered) for token in ids]
        return self.prefix(task) + words

    def dialogue_ids(
        self,
        messages: Sequence[Message],
        train_on: TrainOn = "assistant",
        task: str | None = None,
    ) -> tuple[list[int], list[bool]]:
        """Ids of a conversation that ends with an assistant turn, and its loss mask.

        The mask counts the assistant's text and its end token: of every assistant turn, or of the
        "last" one; "all" counts every token but virtual ones. A turn with weight 0 never counts.
        Nothing follows the last end token.
        """
        if not messages or messages[-1].role != "assistant":
            raise DataError("a dialogue to train on must end with an assistant turn")
        rendered = self._render(messages, add_generation_prompt=False)
        if rendered.rewrites and train_on != "last":
            raise self._unusable(
                "rewrites an earlier answer (it drops reasoning, perhaps), which would be learned; "
                "learn last answers only, with loss_on: last"
            )
        last = len(rendered.spans) - 1
        weights = [message.weight for message in messages if message.role == "assistant"]
        ids = self.prefix(task)
        mask = [False] * len(ids)
        for piece, turn in self._pieces(rendered):
            counts = train_on == "all" or turn == last or (train_on == "assistant" and turn >= 0)
            counts = counts and (turn < 0 or weights[turn] > 0)
            ids += piece
            mask += [counts] * len(piece)
            if turn == last:
                break
        return ids, mask

    def decode(self, ids: Sequence[int]) -> str:
        """The text of sampled ids, without special tokens."""
        text = self.tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(text)

    def _pieces(self, rendered: _Rendered) -> Iterator[tuple[list[int], int]]:
        """The text's ids piece by piece with the number of the assistant turn, or -1 between."""
        position = 0
        for turn, (start, end) in enumerate(rendered.spans):
            yield self._encode(rendered, position, start), -1
            yield self._encode(rendered, start, end), turn
            position = end
        yield self._encode(rendered, position, len(rendered.text)), -1

    def _encode(self, rendered: _Rendered, start: int, end: int) -> list[int]:
        text = rendered.text[start:end]
        if not text:
            return []
        if not rendered.stand_ins:
            return self._encoder.markup(text, first=start == 0)
        ids: list[int] = []
        for part in re.split(f"([{''.join(rendered.stand_ins)}])", text):
            first = start == 0 and not ids
            if part in rendered.stand_ins:
                ids += self._encoder.plain(rendered.stand_ins[part], first=first)
            elif part:
                ids += self._encoder.markup(part, first=first)
        return ids

    def _render(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> _Rendered:
        plain = [{"role": message.role, "content": message.content} for message in messages]
        stand_ins = self._stand_in_for_special_texts(plain)
        text, marked = self._render_text(plain, add_generation_prompt)
        if self._has_markers:
            starts = [start for start, _end in marked]
        else:
            starts = self._starts_by_prefix(plain, text)
        if len(starts) != sum(message.role == "assistant" for message in messages):
            raise self._unusable("does not mark every assistant turn")
        spans = [_Span(start, self._end_of_turn(text, start)) for start in starts]
        answers = [
            message["content"].strip() for message in plain if message["role"] == "assistant"
        ]
        earlier = list(zip(answers, spans, strict=True))[:-1]
        rewrites = any(answer not in text[start:end] for answer, (start, end) in earlier)
        return _Rendered(text, spans, stand_ins, rewrites)

    def _stand_in_for_special_texts(self, messages: list[dict[str, str]]) -> dict[str, str]:
        """Put an unused character in place of every special token that a content spells out."""
        contents = "".join(message["content"] for message in messages)
        pattern = self._encoder.find_special(contents)
        if pattern is None:
            return {}
        unused = (chr(code) for code in _PRIVATE_USE if chr(code) not in contents)
        stand_in_of: dict[str, str] = {}
        for message in messages:
            for special in pattern.findall(message["content"]):
                if special not in stand_in_of:
                    stand_in_of[special] = next(unused)
            message["content"] = pattern.sub(lambda m: stand_in_of[m.group()], message["content"])
        return {character: special for special, character in stand_in_of.items()}

    def _render_text(
        self, messages: list[dict[str, str]], add_generation_prompt: bool
    ) -> tuple[str, list[tuple[int, int]]]:
        try:
            with _render_lock:
                texts, marked = render_jinja_template(
                    [messages],
                    chat_template=self._template,
                    add_generation_prompt=add_generation_prompt,
                    return_assistant_tokens_mask=self._has_markers,
                    **self.tokenizer.special_tokens_map,
                )
        except jinja2.TemplateSyntaxError as error:
            raise self._unusable(f"is not valid Jinja (line {error.lineno}: {error})") from error
        except jinja2.TemplateError as error:
            roles = ", ".join(message["role"] for message in messages)
            raise DataError(f"{self._name} refuses a conversation of {roles}: {error}") from error
        return texts[0], marked[0] if marked else []

    def _starts_by_prefix(self, messages: list[dict[str, str]], text: str) -> list[int]:
        starts = []
        for index, message in enumerate(messages):
            if message["role"] == "assistant":
                prompt, _marked = self._render_text(messages[:index], add_generation_prompt=True)
                if not text.startswith(prompt):
                    raise self._unusable(
                        "renders a prompt that is not the beginning of the finished dialogue"
                    )
                starts.append(len(prompt))
        return starts

    def _end_of_turn(self, text: str, start: int) -> int:
        # What people wrote holds no special token any more, so the first one is the template's.
        end = text.find(self._end_token, start)
        if end < 0:
            raise self._unusable(f"writes no {self._end_token} after an answer")
        return end + len(self._end_token)

    def _find_end_token(self) -> str:
        text, _marked = self._render_text(_probe(_QUESTION, _ANSWER), add_generation_prompt=False)
        _before, found, after = text.rpartition(_ANSWER)
        token = self._encoder.special_at_start(after) if found else None
        if token is None:
            raise self._unusable(
                "writes no end token (EOS or another special token) after an answer"
            )
        return token

    def _find_stop_ids(self) -> tuple[int, ...]:
        tokens = [
            self._end_token,
            self.tokenizer.eos_token,
            document_separator(self.tokenizer),
        ]
        return tuple(dict.fromkeys(self.tokenizer.convert_tokens_to_ids(tokens)))

    def _check_markers(self) -> None:
        turns = _probe(_QUESTION, _ANSWER, _QUESTION, _ANSWER)
        text, marked = self._render_text(turns, add_generation_prompt=False)
        if [start for start, _end in marked] != self._starts_by_prefix(turns, text):
            raise self._unusable(
                "marks an assistant turn that does not begin where the prompt for generation ends"
            )

    @property
    def _name(self) -> str:
        ours = template_name(self._template)
        return f"chat template {ours!r}" if ours else f"the chat template of '{self._source}'"

    @property
    def _source(self) -> str:
        return str(self.tokenizer.name_or_path)

    def _unusable(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"{self._name} {what}; choose another with chat_template: "
            f"{', '.join(TEMPLATES)}, or a .jinja file"
        )


def _probe(*contents: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(contents)]
