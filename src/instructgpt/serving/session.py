"""A conversation with a checkpoint, streamed as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from instructgpt.data.records import Message
from instructgpt.errors import EngineError
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.soft_prompt_files import load_answering_lm
from instructgpt.rollout.engine import Engine
from instructgpt.rollout.types import SamplingParams
from instructgpt.text.streaming import Detokenizer


class Session:
    """Answers messages with one model; keeps no history of its own."""

    def __init__(self, lm: CausalLM) -> None:
        self.lm = lm
        self.renderer = lm.renderer()
        self.engine = Engine(
            lm.model, self.renderer.stop_ids, lm.pad_id, max_slots=8, dtype=lm.dtype
        )

    @classmethod
    def load(cls, source: str | Path, device: str = "auto", dtype: str = "auto") -> Session:
        """Open a checkpoint directory, a run directory, or a hub name."""
        return cls(load_answering_lm(source, device=device, dtype=dtype))

    def check_task(self, task: str | None) -> None:
        """Errors: DataError for a task that the model does not have, or for none where it must be
        named.
        """
        self.renderer.check_task(task)
        self.renderer.prefix(task)

    def answer(
        self,
        messages: Sequence[Message],
        *,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        task: str | None = None,
    ) -> str:
        """The whole answer to a conversation that ends with a user turn."""
        stream = self.stream(
            messages,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            task=task,
        )
        return "".join(stream)

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        task: str | None = None,
    ) -> Iterator[str]:
        """The answer piece by piece, each piece complete text; `task` chooses among soft prompts.

        Errors: EngineError when the conversation leaves no room for an answer, DataError for a task
        that the model does not have.
        """
        self.check_task(task)
        prompt_ids = self.renderer.prompt_ids(messages, task)
        room = self.lm.context - len(prompt_ids)
        if room < 1:
            raise EngineError(
                f"the conversation has {len(prompt_ids)} tokens and the model reads at most "
                f"{self.lm.context}; start a new one"
            )
        params = SamplingParams(
            max_new_tokens=min(max_new_tokens, room),
            temperature=temperature,
            top_p=top_p,
            seed=seed,
        )
        detokenizer = Detokenizer(self.renderer.decode)
        for token_id, _logprob in self.engine.stream(prompt_ids, params):
            if text := detokenizer.push(token_id):
                yield text
        if rest := detokenizer.rest():
            yield rest
