"""Token sequences as one padded tensor, and how many of them fit a token budget.

B sequences, T positions. Rows are always padded on the RIGHT: under causal attention no real token
can see what comes after it, so padding needs no attention mask and no position ids, and the fused
causal kernels apply (docs/adr/0004).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from instructgpt.distributed.world import World

# Padding tokens that cost a CPU about as much as the fixed part of one more forward and backward
# pass (docs/LOG.md, 2026-11-26).
_CPU_PADDING = 128


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Right-padded token ids and the mask of the tokens that count.

    token_ids_BT: int64. mask_BT: bool, True on tokens whose log-prob, value or loss is wanted
    (completion tokens including EOS). lengths_B: int64, real tokens per row.
    """

    token_ids_BT: Tensor
    mask_BT: Tensor
    lengths_B: Tensor

    @classmethod
    def from_sequences(
        cls,
        sequences: Sequence[Sequence[int]],
        masks: Sequence[Sequence[bool]],
        pad_id: int,
        device: torch.device | str = "cpu",
    ) -> TokenBatch:
        """Pad `sequences` (token ids) and `masks` (same lengths) to the longest of them."""
        lengths = [len(sequence) for sequence in sequences]
        width = max(lengths)
        ids = [[*s, *([pad_id] * (width - len(s)))] for s in sequences]
        mask = [[*m, *([False] * (width - len(m)))] for m in masks]
        return cls(
            torch.tensor(ids, dtype=torch.int64, device=device),
            torch.tensor(mask, dtype=torch.bool, device=device),
            torch.tensor(lengths, dtype=torch.int64, device=device),
        )

    @classmethod
    def from_completions(
        cls,
        prompts: Sequence[Sequence[int]],
        completions: Sequence[Sequence[int]],
        pad_id: int,
        device: torch.device | str = "cpu",
    ) -> TokenBatch:
        """Prompt and completion token ids side by side; the mask is True on the completion."""
        pairs = list(zip(prompts, completions, strict=True))
        return cls.from_sequences(
            [[*p, *c] for p, c in pairs],
            [[False] * len(p) + [True] * len(c) for p, c in pairs],
            pad_id,
            device,
        )

    def select(self, rows: Sequence[int]) -> TokenBatch:
        """These rows, cut to the longest of them."""
        index_B = torch.tensor(rows, dtype=torch.int64, device=self.token_ids_BT.device)
        lengths_B = self.lengths_B[index_B]
        width = int(lengths_B.max())
        return TokenBatch(
            self.token_ids_BT[index_B, :width], self.mask_BT[index_B, :width], lengths_B
        )

    @property
    def num_targets(self) -> int:
        """How many tokens count."""
        return int(self.mask_BT.sum())


def token_budget_batches(
    lengths: Sequence[int],
    max_tokens: int,
    device: torch.device,
    rows: Sequence[int] | None = None,
) -> list[list[int]]:
    """Group items of similar length into microbatches of at most `max_tokens` padded tokens.

    `rows[i]` is how many rows item i takes (default 1; a ranking takes K, which stay together). A
    group's cost is its rows x its longest row. An item over the budget gets a group of its own. On
    a CPU a group also ends where one more item would make its padding dearer than another pass.
    Deterministic; every index appears exactly once.
    """
    rows = rows or [1] * len(lengths)
    max_padding = _CPU_PADDING if device.type == "cpu" else max_tokens
    groups: list[list[int]] = []
    current: list[int] = []
    longest = height = padding = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        added = rows[index] * (longest - lengths[index])
        full = longest * (height + rows[index]) > max_tokens or padding + added > max_padding
        if current and full:
            groups.append(current)
            current, height, padding = [], 0, 0
        if not current:
            longest, added = lengths[index], 0  # sorted: the first of a group is its longest
        current.append(index)
        height += rows[index]
        padding += added
    if current:
        groups.append(current)
    return groups


def ask_by_length(
    ask: Callable[[list[int]], Sequence[float]],
    lengths: Sequence[int],
    max_tokens: int,
    device: torch.device,
    world: World,
) -> list[float]:
    """One number per item, in order: `ask` is called with the indices of one microbatch at a time.

    Microbatches are shared over ranks; every rank gets all numbers.
    """
    groups = token_budget_batches(lengths, max_tokens, device)
    shares = world.gather_shares([ask(group) for group in world.share(groups)])
    numbers = [0.0] * len(lengths)
    for group, values in zip(groups, shares, strict=True):
        for index, value in zip(group, values, strict=True):
            numbers[index] = value
    return numbers
