from __future__ import annotations

import random

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


@pytest.mark.parametrize(("device", "max_padding"), [("cpu", 128), ("meta", 2000)])
def test_budget_groups_cover_everything_once_and_keep_to_their_limits(
    device: str, max_padding: int
) -> None:
    rng = random.Random(0)
    lengths = [rng.randint(1, 40) for _ in range(100)]
    rows = [rng.randint(1, 9) for _ in range(100)]
    groups = token_budget_batches(lengths, 2000, torch.device(device), rows)
    assert sorted(i for group in groups for i in group) == list(range(100))
    for group in groups:
        cost = max(lengths[i] for i in group) * sum(rows[i] for i in group)
        assert cost <= 2000
        assert cost - sum(lengths[i] * rows[i] for i in group) <= max_padding


def test_a_group_ends_where_its_padding_would_cost_another_pass():
    """Beside a row of 100, two of 50 take 100 tokens of padding; a third would make it 150."""
    lengths = [100, 50, 50, 50]
    assert token_budget_batches(lengths, 4096, CPU) == [[0, 1, 2], [3]]
    assert token_budget_batches(lengths, 4096, torch.device("meta")) == [[0, 1, 2, 3]]
    assert token_budget_batches(lengths, 4096, CPU, rows=[1, 2, 1, 1]) == [[0, 1], [2, 3]]


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
