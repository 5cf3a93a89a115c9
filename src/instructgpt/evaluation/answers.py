"""One model's answer to one prompt, with everything that was measured about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instructgpt.data.jsonl import read_jsonl, write_jsonl
from instructgpt.errors import DataError
from instructgpt.evaluation.gold import GoldVerdict


@dataclass(frozen=True, slots=True)
class Answer:
    """A completion and its measurements.

    `prompt` is the index into the evaluation's prompts. `num_tokens` includes the end token, which
    is there if `ended`. `kl` is the sum over tokens of log pi - log pi_reference, where it was
    measured (sampled answers of models that share the reference's tokenizer). `reward` and
    `judge_reward` are reward-model scores.
    """

    prompt: int
    condition: str
    completion: str
    num_tokens: int
    ended: bool
    kl: float | None = None
    reward: float | None = None
    judge_reward: float | None = None
    gold: GoldVerdict | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "prompt": self.prompt,
            "condition": self.condition,
            "completion": self.completion,
            "num_tokens": self.num_tokens,
            "ended": self.ended,
            "kl": self.kl,
            "reward": self.reward,
            "judge_reward": self.judge_reward,
            "gold": None if self.gold is None else self.gold.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Answer:
        """Read `to_dict`'s form."""
        gold = data["gold"]
        return cls(**{**data, "gold": None if gold is None else GoldVerdict.from_dict(gold)})


def write_answers(path: Path, answers: list[Answer]) -> None:
    """Write atomically, one JSON row per answer."""
    write_jsonl(path, (answer.to_dict() for answer in answers))


def read_answers(path: Path) -> list[Answer]:
    """Read what `write_answers` wrote. Errors: DataError naming file and row."""
    answers = []
    for number, row in read_jsonl(path):
        try:
            answers.append(Answer.from_dict(row))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}:{number}: not an answer ({error!r})") from error
    return answers
