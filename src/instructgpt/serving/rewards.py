"""Scores of conversations by a reward model, for /v1/rewards."""

from __future__ import annotations

from collections.abc import Sequence

from instructgpt.data.records import Message, Prompt
from instructgpt.errors import DataError
from instructgpt.models.load import load_reward_model
from instructgpt.models.scalar_model import ScalarModel
from instructgpt.serving.errors import ApiError, invalid
from instructgpt.serving.own_thread import in_own_thread
from instructgpt.training.scoring import score_texts

_BATCH_TOKENS = 8192


class RewardScorer:
    """A reward model under the name that clients see."""

    def __init__(self, name: str, model: ScalarModel) -> None:
        self.name = name
        self.model = model

    @classmethod
    def load(cls, name: str, source: str, *, device: str, dtype: str) -> RewardScorer:
        """Open a reward model's checkpoint or run directory."""
        return in_own_thread(
            lambda: cls(name, load_reward_model(source, device=device, dtype=dtype))
        )

    def scores(self, conversations: Sequence[Sequence[Message]]) -> list[float]:
        """One score per conversation: of its last turn, given those before.

        Errors: ApiError 400 for a conversation without an answer at its end, or a too long one.
        """
        for index, messages in enumerate(conversations):
            roles = [message.role for message in messages[-2:]]
            if roles != ["user", "assistant"]:
                raise invalid(
                    f"conversations[{index}]", "must end with a user turn and the answer to score"
                )
        prompts = [Prompt(tuple(messages[:-1])) for messages in conversations]
        answers = [messages[-1].content for messages in conversations]
        try:
            return in_own_thread(
                lambda: score_texts(self.model, prompts, answers, max_tokens=_BATCH_TOKENS)
            )
        except DataError as error:
            raise ApiError(
                400, str(error), code="context_length_exceeded", param="conversations"
            ) from error
