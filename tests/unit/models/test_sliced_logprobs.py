"""Log-probs by slices of the vocabulary against one log-softmax over all of it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from instructgpt.losses import logprobs
from instructgpt.models import sliced_logprobs as module
from instructgpt.models.sliced_logprobs import sliced_logprobs, slices_of

WORDS = 29


@pytest.fixture(autouse=True)
def _small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five words each, the last of four; every vocabulary is a large one."""
    monkeypatch.setattr(module, "_LARGE_VOCABULARY", 1)
    monkeypatch.setattr(module, "_LOGITS", 1)
    monkeypatch.setattr(module, "_FEWEST_WORDS", 5)


def layer(bias: bool, dtype: torch.dtype = torch.float64) -> tuple[nn.Linear, Tensor, Tensor]:
    torch.manual_seed(0)
    head = nn.Linear(6, WORDS, bias=bias, dtype=dtype)
    hidden_ND = torch.randn(11, 6, dtype=dtype, requires_grad=True)
    return head, hidden_ND, torch.randint(WORDS, (11,))


def plainly(head: nn.Linear, hidden_ND: Tensor, temperature: float) -> Tensor:
    return (head(hidden_ND) / temperature).log_softmax(dim=-1)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_values_entropies_and_gradients(bias: bool, temperature: float) -> None:
    head, hidden_ND, targets_N = layer(bias)
    inputs = [hidden_ND, *head.parameters()]
    slopes_N = torch.randn(11, dtype=torch.float64)
    logprobs_NV = plainly(head, hidden_ND, temperature)
    expected_N = logprobs_NV.gather(1, targets_N[:, None]).squeeze(1)
    expected = torch.autograd.grad((expected_N * slopes_N).sum(), inputs)
    got_N, entropy_N = sliced_logprobs(head, hidden_ND, targets_N, temperature)
    torch.testing.assert_close(got_N, expected_N, atol=1e-12, rtol=1e-12)
    entropies_N = -(logprobs_NV.exp() * logprobs_NV).sum(dim=-1)
    torch.testing.assert_close(entropy_N, entropies_N, atol=1e-12, rtol=1e-12)
    assert not entropy_N.requires_grad
    for mine, right in zip(
        torch.autograd.grad((got_N * slopes_N).sum(), inputs), expected, strict=True
    ):
        torch.testing.assert_close(mine, right, atol=1e-12, rtol=1e-12)


def test_half_precision_products_and_nothing_else() -> None:
    head, hidden_ND, targets_N = layer(True, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        got_N, entropy_N = sliced_logprobs(head, hidden_ND, targets_N, 0.7)
        logits_NV = head(hidden_ND)
    expected_N = logprobs.logprobs_of(logits_NV, targets_N, 0.7)
    torch.testing.assert_close(got_N, expected_N, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(entropy_N, logprobs.entropy(logits_NV, 0.7), atol=1e-5, rtol=1e-5)
    ours = torch.autograd.grad(got_N.sum(), [hidden_ND, *head.parameters()])
    theirs = torch.autograd.grad(expected_N.sum(), [hidden_ND, *head.parameters()])
    for mine, right in zip(ours, theirs, strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, right, atol=0.02, rtol=0.02)


def test_what_needs_no_gradient_gets_none() -> None:
    head, hidden_ND, targets_N = layer(False)
    head.requires_grad_(False)
    got_N, none = sliced_logprobs(head, hidden_ND, targets_N, 1.0, False)
    assert none is None
    (mine,) = torch.autograd.grad(got_N.sum(), hidden_ND)
    expected_N = plainly(head, hidden_ND, 1.0).gather(1, targets_N[:, None])
    torch.testing.assert_close(mine, torch.autograd.grad(expected_N.sum(), hidden_ND)[0])
    with torch.no_grad():
        silent_N, _ = sliced_logprobs(head, hidden_ND, targets_N)
    assert torch.equal(silent_N, got_N)
    assert silent_N.grad_fn is None


def test_forbidden_words_and_extreme_logits() -> None:
    head, hidden_ND, targets_N = layer(True)
    with torch.no_grad():
        head.bias[5:10] = -math.inf  # a whole slice but one
        head.bias[7] = 900.0
    targets_N[:] = 7
    got_N, entropy_N = sliced_logprobs(head, hidden_ND, targets_N)
    torch.testing.assert_close(got_N, torch.zeros_like(got_N))
    torch.testing.assert_close(entropy_N, torch.zeros_like(entropy_N))
    got_N.sum().backward()
    assert hidden_ND.grad.isfinite().all()


def test_temperatures_and_targets_out_of_range() -> None:
    head, hidden_ND, targets_N = layer(False)
    with pytest.raises(ValueError, match="temperature"):
        sliced_logprobs(head, hidden_ND, targets_N, 0.0)
    for wrong in (-100, WORDS):
        targets_N[3] = wrong
        with pytest.raises(IndexError, match="not one of 29 words"):
            sliced_logprobs(head, hidden_ND, targets_N)


def test_no_tokens() -> None:
    head, hidden_ND, targets_N = layer(False)
    got_N, entropy_N = sliced_logprobs(head, hidden_ND[:0], targets_N[:0])
    assert got_N.shape == entropy_N.shape == (0,)
    got_N.sum().backward()
    assert not head.weight.grad.any()


def test_chunks_may_take_this_way() -> None:
    head, hidden_ND, targets_N = layer(True)
    expected_N = plainly(head, hidden_ND, 0.7).gather(1, targets_N[:, None]).squeeze(1)
    asked: list[int] = []

    def spy(hidden: Tensor, *rest: Any) -> tuple[Tensor, Tensor | None]:
        asked.append(len(hidden))
        return sliced_logprobs(head, hidden, *rest)

    got_N, _ = logprobs.chunked_token_logprobs(
        hidden_ND, head, targets_N, 0.7, chunk_size=4, of_chunk=spy
    )
    assert asked == [3, 4, 4]
    torch.testing.assert_close(got_N, expected_N, atol=1e-12, rtol=1e-12)
    expected = torch.autograd.grad(expected_N.sum(), list(head.parameters()))
    got = torch.autograd.grad(got_N.sum(), list(head.parameters()))
    for mine, right in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, right, atol=1e-12, rtol=1e-12)


def test_who_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    head, _, _ = layer(False)
    assert slices_of(head) is not None
    assert slices_of(nn.Sequential(head)) is None
    assert slices_of(nn.Linear(6, WORDS, device="meta")) is None
    handle = head.register_forward_hook(lambda *_: None)
    assert slices_of(head) is None
    handle.remove()
    monkeypatch.setattr(module, "_LARGE_VOCABULARY", WORDS + 1)
    assert slices_of(head) is None
