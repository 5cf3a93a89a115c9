"""Scores of rollouts: by token ids where the tokenizers are the same, else by text."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from instructgpt.data.records import Prompt
from instructgpt.distributed.world import World
from instructgpt.models.scalar_model import ScalarModel
from instructgpt.rollout.types import Rollout
from instructgpt.storage.token_store import TokenSequence
from instructgpt.text.chat_template import ChatRenderer
from instructgpt.training.examples import completion_sequence
from instructgpt.training.scoring import score_sequences


class CompletionScorer:
    """The reward model's verdict on finished episodes.

    A completion that was cut off before EOS is scored with its end token appended, as every
    completion in the rankings was; whether it is then punished is the caller's rule.
    """

    def __init__(
        self,
        reward_model: ScalarModel,
        policy_renderer: ChatRenderer,
        *,
        max_tokens: int,
        world: World | None = None,
    ) -> None:
        self.reward_model = reward_model
        self.policy_renderer = policy_renderer
        self.renderer = ChatRenderer(reward_model.tokenizer)
        self.max_tokens = max_tokens
        self.world = world
        self.same_tokens = not policy_renderer.prefixes and _same_tokenizer(
            policy_renderer.tokenizer, reward_model.tokenizer
        )

    def __call__(self, prompts: Sequence[Prompt], rollouts: Sequence[Rollout]) -> list[float]:
        """One score per rollout; `prompts[i]` is the prompt of `rollouts[i]`."""
        to_sequence = self._token_sequence if self.same_tokens else self._text_sequence
        sequences = [to_sequence(p, r) for p, r in zip(prompts, rollouts, strict=True)]
        return score_sequences(
            self.reward_model, sequences, max_tokens=self.max_tokens, world=self.world
        )

    def _token_sequence(self, prompt: Prompt, rollout: Rollout) -> TokenSequence:
        completion = list(rollout.completion_ids)
        if rollout.has_eos:
            completion.pop()
        # Whichever stop token ended it: the reward model has only ever seen a turn's own end.
        completion.append(self.renderer.stop_ids[0])
        mask = [False] * len(rollout.prompt_ids) + [True] * len(completion)
        return [*rollout.prompt_ids, *completion], mask

    def _text_sequence(self, prompt: Prompt, rollout: Rollout) -> TokenSequence:
        text = self.policy_renderer.decode(rollout.completion_ids)
        return completion_sequence(self.renderer, prompt, text)


def _same_tokenizer(a: PreTrainedTokenizerBase, b: PreTrainedTokenizerBase) -> bool:
    return a.get_vocab() == b.get_vocab() and a.chat_template == b.chat_template
