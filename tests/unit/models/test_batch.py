from __future__ import annotations

import random

import torch

from instructgpt.models.batch import TokenBatch, token_budget_batches


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


def test_budget_groups_cover_everything_once_and_keep_to_the_budget():
    rng = random.Random(0)
    lengths = [rng.randint(1, 40) for _ in range(100)]
    rows = [rng.randint(1, 9) for _ in range(100)]
    groups = token_budget_batches(lengths, 120, rows)
    assert sorted(i for group in groups for i in group) == list(range(100))
    for group in groups:
        cost = max(lengths[i] for i in group) * sum(rows[i] for i in group)
        assert cost <= 120 or len(group) == 1


def test_budget_smaller_than_an_item_gives_it_a_group_of_its_own():
    assert token_budget_batches([5, 50, 5], 10) == [[1], [0, 2]]


def test_dtype_and_device_of_a_batch():
    batch = TokenBatch.from_sequences([[1]], [[True]], pad_id=0)
    assert batch.token_ids_BT.dtype == torch.int64
    assert batch.mask_BT.dtype == torch.bool
