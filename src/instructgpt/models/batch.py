"""Token sequences as one padded tensor, and how many of them fit a token budget.

B sequences, T positions, N predicted tokens. Rows are always padded on the RIGHT: under causal
attention no real token can see what comes after it, so padding needs no attention mask and no
position ids, and the fused causal kernels apply (docs/adr/0004).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from instructgpt.distributed.world import World

# Tokens that take a CPU about as long as the fixed part of one more forward and backward pass
# (docs/LOG.md, 2026-11-26).
_CPU_PASS = 256


@dataclass(frozen=True, slots=True)
class Passes:
    """What a model's passes over several rows cost.

    padded: every row takes as many tokens as the longest. fixed: tokens that take as long as the
    part of a padded pass that does not depend on them; 0 where passes are to be as few as can be.
    """

    padded: bool
    fixed: int = 0

    @classmethod
    def of_padded_rows(cls, device: torch.device) -> Passes:
        """Off the CPU a pass costs too much for padding to matter."""
        return cls(True, _CPU_PASS if device.type == "cpu" else 0)


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
    def predicted_BT(self) -> Tensor:
        """The tokens that count and have one before them, which predicts them: N in all."""
        where_BT = self.mask_BT.clone()
        where_BT[:, 0] = False
        return where_BT

    def spread(self, values_N: Tensor) -> Tensor:
        """A value for each predicted token, row after row, at its place: BT, 0 elsewhere."""
        where_BT = self.predicted_BT
        out_BT = torch.zeros(where_BT.shape, dtype=values_N.dtype, device=values_N.device)
        return out_BT.masked_scatter(where_BT, values_N)

    @property
    def num_targets(self) -> int:
        """How many tokens count."""
        return int(self.mask_BT.sum())


def token_budget_batches(
    lengths: Sequence[int],
    max_tokens: int,
    passes: Passes,
    rows: Sequence[int] | None = None,
) -> list[list[int]]:
    """Group items of similar length into microbatches of at most `max_tokens` tokens.

    `rows[i]` is how many rows item i takes (default 1; a ranking takes K, which stay together), the
    longest of `lengths[i]` tokens. An item over the budget gets a group of its own. Deterministic;
    every index appears exactly once.
    """
    rows = rows or [1] * len(lengths)
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    if passes.padded:
        return _cheapest_cuts(lengths, rows, order, max_tokens, passes.fixed or max_tokens)
    groups: list[list[int]] = []
    room = 0
    for index in order:
        tokens = rows[index] * lengths[index]
        if tokens > room:
            groups.append([])
            room = max_tokens
        groups[-1].append(index)
        room -= tokens
    return groups


def _cheapest_cuts(
    lengths: Sequence[int], rows: Sequence[int], order: list[int], max_tokens: int, fixed: int
) -> list[list[int]]:
    """Of all ways to cut `order`, longest first, into groups the one that pads least.

    A group's cost is its rows x its longest row, and `fixed` for its pass.
    """
    costs, cuts = [0], [0]  # of the cheapest way for the first so many items, and its last cut
    for end in range(1, len(order) + 1):
        best = height = 0
        for start in range(end - 1, -1, -1):
            height += rows[order[start]]
            padded = height * lengths[order[start]]
            if padded > max_tokens and start < end - 1:
                break  # more items are longer still
            cost = costs[start] + fixed + padded
            if start == end - 1 or cost <= best:
                best, cut = cost, start
        costs.append(best)
        cuts.append(cut)
    groups: list[list[int]] = []
    end = len(order)
    while end:
        groups.append(order[cuts[end] : end])
        end = cuts[end]
    return groups[::-1]


def ask_by_length(
    ask: Callable[[list[int]], Sequence[float]],
    lengths: Sequence[int],
    max_tokens: int,
    passes: Passes,
    world: World,
) -> list[float]:
    """One number per item, in order: `ask` is called with the indices of one microbatch at a time.

    Microbatches are shared over ranks; every rank gets all numbers.
    """
    groups = token_budget_batches(lengths, max_tokens, passes)
    shares = world.gather_shares([ask(group) for group in world.share(groups)])
    numbers = [0.0] * len(lengths)
    for group, values in zip(groups, shares, strict=True):
        for index, value in zip(group, values, strict=True):
            numbers[index] = value
    return numbers
