"""A checkpoint that is being served: its engine, how text enters and leaves it, and embeddings."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from instructgpt.data.records import Message
from instructgpt.errors import ConfigError, DataError, EngineError
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.embedding import mean_hidden_states
from instructgpt.models.soft_prompt_files import load_answering_lm
from instructgpt.rollout.engine import Engine
from instructgpt.rollout.types import LogitChanges, SamplingParams
from instructgpt.serving.engine_loop import Arrivals, EngineLoop
from instructgpt.serving.errors import ApiError, invalid
from instructgpt.serving.generation import Generation, Inbox
from instructgpt.serving.own_thread import in_own_thread
from instructgpt.serving.schemas import SamplingRequest
from instructgpt.text.chat_template import ChatRenderer
from instructgpt.text.encoding import TextEncoder, added_bos

# An answer whose length nobody limits may otherwise hold a slot for hours.
DEFAULT_ANSWER_TOKENS = 2048
_EMBEDDING_BATCH_TOKENS = 8192


class ServedModel:
    """One checkpoint under the name that clients use."""

    def __init__(self, name: str, lm: CausalLM, max_slots: int) -> None:
        self.name = name
        self.lm = lm
        self.renderer = ChatRenderer(lm.tokenizer)
        self._soft = lm.renderer()
        lm.model.eval()
        if lm.dtype != torch.float32:
            lm.model.to(lm.dtype)  # nothing trains here: no float32 masters to cast at every step
        self.engine = Engine(lm.model, self.renderer.stop_ids, lm.pad_id, max_slots=max_slots)
        self.loop: EngineLoop | None = None
        self._encoder = TextEncoder(lm.tokenizer)
        bos = added_bos(lm.tokenizer)
        self._bos = [] if bos is None else [lm.tokenizer.convert_tokens_to_ids(bos)]

    @classmethod
    def load(
        cls, name: str, source: str, *, max_slots: int, device: str, dtype: str
    ) -> ServedModel:
        """Open a checkpoint directory, a run directory, or a hub name."""
        return in_own_thread(
            lambda: cls(name, load_answering_lm(source, device=device, dtype=dtype), max_slots)
        )

    def start(self, notify: Callable[[Arrivals], None]) -> None:
        """Begin to answer; warns now, not at the first request, about a slower way."""
        in_own_thread(self.engine.warm_up)
        self.loop = EngineLoop(self.engine, notify)

    def chat_ids(self, messages: Sequence[Message]) -> list[int]:
        """The prompt of a conversation. Errors: ApiError 400 when the template refuses it."""
        try:
            return self.renderer.prompt_ids(messages)
        except DataError as error:
            raise invalid("messages", str(error)) from error

    def text_ids(self, text: str) -> list[int]:
        """A bare prompt: whoever sends it writes the turn markers, so they count as such."""
        return [*self._bos, *self._encoder.markup(text, first=True)]

    @property
    def tasks(self) -> list[str]:
        """The tasks that a request may name, each with a soft prompt of its own."""
        return [task for task in self._soft.prefixes if task]

    def _prefix(self, task: str | None) -> list[int]:
        """The soft prompt before a prompt. Errors: ApiError 400 for a task that has none."""
        try:
            self._soft.check_task(task)
            return self._soft.prefix(task)
        except DataError as error:
            raise invalid("task", str(error)) from error

    def token_text(self, token_id: int) -> str:
        """One token on its own, special ones by name."""
        return str(self.lm.tokenizer.decode([token_id], clean_up_tokenization_spaces=False))

    def generation(
        self,
        prompt_ids: Sequence[int],
        asked: SamplingRequest,
        inbox: Inbox,
        *,
        first_choice: int = 0,
        max_tokens: int | None,
        top: int | None,
        key: int = 0,
    ) -> Generation:
        """A request with every setting made explicit. Errors: ApiError 400 if it cannot be run."""
        prompt_ids = [*self._prefix(asked.task), *prompt_ids]
        self._check_context(prompt_ids)
        vocab_size = self.engine.forward.vocab_size
        if any(not 0 <= token < vocab_size for token in asked.logit_bias or ()):
            raise invalid("logit_bias", f"holds ids outside the vocabulary of {vocab_size}")
        params = SamplingParams(
            max_new_tokens=max_tokens or DEFAULT_ANSWER_TOKENS,
            temperature=1.0 if asked.temperature is None else asked.temperature,
            top_k=max(0, asked.top_k or 0),
            top_p=1.0 if asked.top_p is None else asked.top_p,
            seed=secrets.randbits(63) if asked.seed is None else asked.seed,
        )
        changes = LogitChanges(
            asked.presence_penalty or 0.0, asked.frequency_penalty or 0.0, asked.logit_bias or {}
        )
        try:
            self.engine.check([prompt_ids], params, 1, [key], changes=changes)
        except EngineError as error:
            raise ApiError(400, str(error), code="invalid_value", param="prompt") from error
        return Generation(
            prompt_ids,
            params,
            self.renderer.decode,
            inbox,
            first_choice=first_choice,
            key=key,
            n=asked.n or 1,
            stops=asked.stops,
            top=top,
            changes=None if changes == LogitChanges() else changes,
            ignore_eos=asked.ignore_eos,
            stream=bool(asked.stream),
        )

    def embeddings(self, inputs: Sequence[Sequence[int]]) -> list[list[float]]:
        """Mean hidden state of every input, scaled to length 1."""
        return in_own_thread(
            lambda: mean_hidden_states(self.lm, inputs, max_tokens=_EMBEDDING_BATCH_TOKENS).tolist()
        )

    def embedding_ids(self, text: str) -> list[int]:
        """An instruction to embed: plain text, as in a user's turn."""
        return [*self._bos, *self._encoder.plain(text, first=True)]

    def check_embedding(self, ids: Sequence[int]) -> None:
        """Errors: ApiError 400 for an input that is empty, too long or of another vocabulary."""
        if not ids:
            raise invalid("input", "is empty")
        if len(ids) > self.lm.context:
            raise _too_long(len(ids), self.lm.context, "input")
        if min(ids) < 0 or max(ids) >= self.engine.forward.vocab_size:
            raise invalid("input", f"holds ids outside {self.engine.forward.vocab_size} tokens")

    def _check_context(self, prompt_ids: Sequence[int]) -> None:
        if len(prompt_ids) >= self.engine.max_context:
            raise _too_long(len(prompt_ids), self.engine.max_context, "messages")


def _too_long(tokens: int, context: int, param: str) -> ApiError:
    return ApiError(
        400,
        f"this has {tokens} tokens and the model reads at most {context}, its answer included; "
        "shorten it",
        code="context_length_exceeded",
        param=param,
    )


def named_sources(arguments: Sequence[str]) -> dict[str, str]:
    """NAME=CHECKPOINT, or a checkpoint whose folder names it. Errors: ConfigError for twins."""
    sources: dict[str, str] = {}
    for argument in arguments:
        name, equals, source = argument.partition("=")
        if not equals:
            name, source = _folder_name(argument), argument
        if name in sources:
            raise ConfigError(f"two models are called '{name}'; name them: NAME=CHECKPOINT")
        sources[name] = source
    return sources


def _folder_name(source: str) -> str:
    path = Path(source)
    if not path.exists():
        return source  # a hub name
    path = path.resolve()
    return path.parent.name if path.name == "model" else path.name
