"""What one call asks of an engine, checked once and before any work.

A *sequence* is one sample of one prompt; sequences are numbered prompt by prompt, so sequence q is
sample ``q % n`` of prompt ``q // n``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from instructgpt.errors import EngineError
from instructgpt.rollout.types import LogitChanges, SamplingParams


@dataclass(frozen=True, slots=True)
class Requests:
    """Valid prompts, `n` samples each.

    keys: one integer per prompt, the prompt's share of the randomness. room: the most tokens that
    each prompt's completions may have, from max_new_tokens and the context limit. top: how many
    likely tokens are wanted with every chosen one; None when the model's log-probs are not wanted.
    changes: to the logits before a token is chosen.
    """

    prompts: list[tuple[int, ...]]
    params: SamplingParams
    n: int
    keys: list[int]
    room: list[int]
    top: int | None = None
    changes: LogitChanges | None = None

    @property
    def num_sequences(self) -> int:
        return len(self.prompts) * self.n

    @property
    def reads_logits(self) -> bool:
        """Whether more is asked of the logits than the next token and its log-prob."""
        return self.top is not None or self.changes is not None

    @property
    def longest(self) -> int:
        """The most tokens that a prompt and its completion can have together; 0 without prompts."""
        return max((len(p) + r for p, r in zip(self.prompts, self.room, strict=True)), default=0)


def check_requests(
    prompts: Sequence[Sequence[int]],
    params: SamplingParams,
    n: int,
    keys: Sequence[int] | None,
    context: int,
    vocab_size: int,
    top: int | None = None,
    changes: LogitChanges | None = None,
    *,
    readable_ids: int | None = None,
) -> Requests:
    """The call's arguments as `Requests`; prompts may hold ids up to `readable_ids`.

    Errors: EngineError naming the prompt that is empty, too long for `context`, or holds an id
    outside the vocabulary; EngineError for n < 1, a wrong number of keys, or a bias for no token.
    """
    if n < 1:
        raise EngineError(f"n is {n}; at least one sample per prompt is needed")
    if keys is not None and len(keys) != len(prompts):
        raise EngineError(f"{len(keys)} keys for {len(prompts)} prompts; one key each is needed")
    for token in changes.bias if changes is not None else ():
        if not 0 <= token < vocab_size:
            raise EngineError(f"a bias for token {token}, outside the vocabulary of {vocab_size}")
    readable = readable_ids or vocab_size
    checked = [_check_prompt(i, p, context, readable) for i, p in enumerate(prompts)]
    return Requests(
        prompts=checked,
        params=params,
        n=n,
        keys=list(range(len(checked)) if keys is None else keys),
        room=[min(params.max_new_tokens, context - len(p)) for p in checked],
        top=top,
        changes=changes,
    )


def _check_prompt(
    index: int, prompt: Sequence[int], context: int, vocab_size: int
) -> tuple[int, ...]:
    ids = tuple(prompt)
    if not ids:
        raise EngineError(f"prompt {index} is empty; give at least one token")
    if len(ids) >= context:
        raise EngineError(
            f"prompt {index} has {len(ids)} tokens and the context limit is {context}, which "
            "leaves no room for a completion; shorten the prompt"
        )
    if min(ids) < 0 or max(ids) >= vocab_size:
        wrong = min(ids) if min(ids) < 0 else max(ids)
        raise EngineError(
            f"prompt {index} holds token id {wrong}, outside the vocabulary of {vocab_size}; "
            "was it encoded by another tokenizer?"
        )
    return ids
