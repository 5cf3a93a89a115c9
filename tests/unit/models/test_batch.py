from __future__ import annotations

import math
import random
from collections.abc import Iterator

import pytest
import torch

from instructgpt.distributed.world import World
from instructgpt.models.batch import Passes, TokenBatch, ask_by_length, token_budget_batches

PADDED = Passes.of_padded_rows(torch.device("cpu"))
SIDE_BY_SIDE = Passes(padded=False)


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
    groups = token_budget_batches(lengths, 2000, PADDED, rows)
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
    passes = Passes.of_padded_rows(torch.device(device))
    for _ in range(30):
        lengths = [rng.randint(1, 250) for _ in range(8)]
        rows = [rng.randint(1, 3) for _ in range(8)]

        def cost(groups: list[list[int]], lengths=lengths, rows=rows) -> float:
            sizes = [max(lengths[i] for i in g) * sum(rows[i] for i in g) for g in groups]
            fits = all(s <= 700 or len(g) == 1 for s, g in zip(sizes, groups, strict=True))
            return sum(sizes) + fixed * len(groups) if fits else math.inf

        longest_first = sorted(range(8), key=lambda i, lengths=lengths: -lengths[i])
        groups = token_budget_batches(lengths, 700, passes, rows)
        assert cost(groups) == min(map(cost, all_cuts(longest_first)))


def test_budget_smaller_than_an_item_gives_it_a_group_of_its_own():
    assert token_budget_batches([5, 50, 5], 10, PADDED) == [[1], [0, 2]]
    assert token_budget_batches([5, 50, 5], 10, SIDE_BY_SIDE) == [[1], [0, 2]]


def test_side_by_side_a_group_is_as_many_tokens_as_its_rows_have():
    rng = random.Random(0)
    lengths = [rng.randint(1, 40) for _ in range(100)]
    groups = token_budget_batches(lengths, 300, SIDE_BY_SIDE)
    assert sorted(i for group in groups for i in group) == list(range(100))
    sizes = [sum(lengths[i] for i in group) for group in groups]
    assert max(sizes) <= 300
    assert min(sizes[:-1]) > 300 - 40  # full but for what the next item takes
    # a ranking's rows stay together, and count as its longest
    assert token_budget_batches([5, 4], 20, SIDE_BY_SIDE, rows=[3, 2]) == [[0], [1]]
    assert token_budget_batches([5, 4], 23, SIDE_BY_SIDE, rows=[3, 2]) == [[0, 1]]


def test_predicted_tokens_and_their_places():
    """The first token of a row has nothing before it."""
    mask = [[True, False, True], [False, True]]
    batch = TokenBatch.from_sequences([[1, 2, 3], [4, 5]], mask, pad_id=0)
    assert batch.predicted_BT.tolist() == [[False, False, True], [False, True, False]]
    spread_BT = batch.spread(torch.tensor([1.5, 2.5]))
    assert spread_BT.tolist() == [[0.0, 0.0, 1.5], [0.0, 2.5, 0.0]]


def test_numbers_come_back_in_order_whatever_the_groups():
    lengths = [3, 900, 1, 30, 2]
    asked: list[list[int]] = []

    def ask(group: list[int]) -> list[float]:
        asked.append(group)
        return [float(lengths[i]) for i in group]

    assert ask_by_length(ask, lengths, 1000, PADDED, World()) == [3.0, 900.0, 1.0, 30.0, 2.0]
    assert len(asked) > 1


def test_dtype_and_device_of_a_batch():
    batch = TokenBatch.from_sequences([[1]], [[True]], pad_id=0)
    assert batch.token_ids_BT.dtype == torch.int64
    assert batch.mask_BT.dtype == torch.bool
