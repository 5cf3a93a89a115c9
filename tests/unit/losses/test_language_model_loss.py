from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from instructgpt.losses import language_model, logprobs

REFERENCE = json.loads(
    (Path(__file__).parents[2] / "data" / "paper_unit_reference.json").read_text()
)["loss_reduction"]


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """logits_BTV, token_ids_BT, mask_BT with ragged completions in the middle of the rows."""
    generator = torch.Generator().manual_seed(5)
    logits_BTV = torch.randn(3, 6, 9, generator=generator, dtype=torch.float64)
    token_ids_BT = torch.randint(9, (3, 6), generator=generator)
    mask_BT = torch.tensor([[0, 0, 1, 1, 1, 0], [0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1]]).bool()
    return logits_BTV, token_ids_BT, mask_BT


def test_token_mean_matches_the_reference() -> None:
    mask_BT = torch.tensor(REFERENCE["mask"]).bool()
    got = language_model.language_model_loss(-torch.tensor(REFERENCE["loss"]), mask_BT, 5)
    assert got.item() == pytest.approx(REFERENCE["token_mean"])


def test_equals_the_cross_entropy_with_shifted_labels() -> None:
    logits_BTV, token_ids_BT, mask_BT = batch()
    labels_BT = torch.where(mask_BT, token_ids_BT, -100)
    expected = F.cross_entropy(logits_BTV[:, :-1].transpose(1, 2), labels_BT[:, 1:])
    logprobs_BT = logprobs.token_logprobs(logits_BTV, token_ids_BT)
    got = language_model.language_model_loss(logprobs_BT, mask_BT, mask_BT.sum())
    assert got.item() == pytest.approx(expected.item())


def test_microbatches_divided_by_the_global_count_give_the_whole_gradient() -> None:
    logits_BTV, token_ids_BT, mask_BT = batch()
    num_tokens = mask_BT.sum()

    def gradient(split: int) -> torch.Tensor:
        leaf_BTV = logits_BTV.clone().requires_grad_()
        for rows in torch.arange(3).split(split):
            logprobs_BT = logprobs.token_logprobs(leaf_BTV[rows], token_ids_BT[rows])
            language_model.language_model_loss(logprobs_BT, mask_BT[rows], num_tokens).backward()
        return leaf_BTV.grad

    assert torch.allclose(gradient(1), gradient(3), atol=1e-14)
    assert torch.allclose(gradient(2), gradient(3), atol=1e-14)


def test_the_end_token_is_learnt_and_padding_is_not() -> None:
    logits_BTV, token_ids_BT, mask_BT = batch()
    leaf_BTV = logits_BTV.requires_grad_()
    logprobs_BT = logprobs.token_logprobs(leaf_BTV, token_ids_BT)
    language_model.language_model_loss(logprobs_BT, mask_BT, 7).backward()
    # Token 4 of row 0 is the last that counts: predicted at position 3; nothing is at 4 or 5.
    assert leaf_BTV.grad[0, 3].abs().sum() > 0
    assert leaf_BTV.grad[0, 4:].abs().sum() == 0
    assert leaf_BTV.grad[1, 1:].abs().sum() == 0


def test_padding_may_hold_anything() -> None:
    logprobs_BT = torch.tensor([[0.0, -1.0, -3.0, math.nan, -math.inf]], requires_grad=True)
    mask_BT = torch.tensor([[False, True, True, False, False]])
    loss = language_model.language_model_loss(logprobs_BT, mask_BT, 2)
    loss.backward()
    assert loss.item() == 2.0
    assert logprobs_BT.grad.tolist() == [[0.0, -0.5, -0.5, 0.0, 0.0]]
