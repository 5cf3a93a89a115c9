from __future__ import annotations

import math
import random
from collections.abc import Iterator

import pytest
import torch

from instructgpt.distributed.world import World
from instructgpt.models.batch import TokenBatch, ask_by_length, token_budget_batches

CPU = torch.device("cpu")


def test_completions_are_masked_and_right_padded():
    batch = TokenBatch.from_completions([[1, 2, 3], [4]], [[5], [6, 7]], pad_id=0)
    assert batch.token_ids_BT.tolist() == [[1, 2, 3, 5], [4, 6, 7, 0]]
    assert batch.mask_BT.tolist() == [[False, False, False, True], [False, True, True, False]]
    assert batch.lengths_B.tolist() == [4, 3]
    assert batch.num_targets == 3


def test_select_cuts_to_the_longest_selected_row():
    batch = TokenBatch.from_completions([[1, 2, 3], [4], [8]], [[5], [6, 7], [9]], pad_id=0)
    picked = batch.select([2, 1])
    assert picked.token_ids_BT.tolist() == [[8, 9, 0], [4, 6, 7]]
    assert picked.mask_BT.tolist() == [[False, True, False], [False, True, True]]


def test_budget_groups_cover_everything_once_and_keep_to_their_limit():
    rng = random.Random(0)
    lengths = [rng.randint(1, 40) for _ in range(100)]
    rows = [rng.randint(1, 9) for _ in range(100)]
    groups = token_budget_batches(lengths, 2000, CPU, rows)
    assert sorted(i for group in groups for i in group) == list(range(100))
    for group in groups:
        assert max(lengths[i] for i in group) * sum(rows[i] for i in group) <= 2000


def all_cuts(items: list[int]) -> Iterator[list[list[int]]]:
    """All ways to cut a list into pieces."""
    if not items:
        yield []
    for end in range(1, len(items) + 1):
        for rest in all_cuts(items[end:]):
            yield [items[:end], *rest]


@pytest.mark.parametrize(("device", "fixed"), [("cpu", 256), ("meta", 700)])
def test_no_other_cuts_cost_less(device: str, fixed: int):
    """Against every way to cut eight items; a pass costs 256 tokens on a CPU, else the budget."""
    rng = random.Random(1)
    for _ in range(30):
        lengths = [rng.randint(1, 250) for _ in range(8)]
        rows = [rng.randint(1, 3) for _ in range(8)]

        def cost(groups: list[list[int]], lengths=lengths, rows=rows) -> float:
            sizes = [max(lengths[i] for i in g) * sum(rows[i] for i in g) for g in groups]
            fits = all(s <= 700 or len(g) == 1 for s, g in zip(sizes, groups, strict=True))
            return sum(sizes) + fixed * len(groups) if fits else math.inf

        longest_first = sorted(range(8), key=lambda i, lengths=lengths: -lengths[i])
        groups = token_budget_batches(lengths, 700, torch.device(device), rows)
        assert cost(groups) == min(map(cost, all_cuts(longest_first)))


def test_budget_smaller_than_an_item_gives_it_a_group_of_its_own():
    assert token_budget_batches([5, 50, 5], 10, CPU) == [[1], [0, 2]]


def test_numbers_come_back_in_order_whatever_the_groups():
    lengths = [3, 900, 1, 30, 2]
    asked: list[list[int]] = []

    def ask(group: list[int]) -> list[float]:
        asked.append(group)
        return [float(lengths[i]) for i in group]

    assert ask_by_length(ask, lengths, 1000, CPU, World()) == [3.0, 900.0, 1.0, 30.0, 2.0]
    assert len(asked) > 1


def test_dtype_and_device_of_a_batch():
    batch = TokenBatch.from_sequences([[1]], [[True]], pad_id=0)
    assert batch.token_ids_BT.dtype == torch.int64
    assert batch.mask_BT.dtype == torch.bool
