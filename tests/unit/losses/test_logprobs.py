from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from instructgpt.losses import logprobs

REFERENCE = json.loads(
    (Path(__file__).parents[2] / "data" / "paper_unit_reference.json").read_text()
)["logprob_temperature"]


def naive_logprobs(logits: list[float], temperature: float) -> list[float]:
    scaled = [x / temperature for x in logits]
    log_total = math.log(sum(math.exp(x) for x in scaled))
    return [x - log_total for x in scaled]


def random_batch(
    rows: int = 3, positions: int = 6, vocabulary: int = 11, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits_BTV = 3 * torch.randn(rows, positions, vocabulary, generator=generator, dtype=dtype)
    return logits_BTV, torch.randint(vocabulary, (rows, positions), generator=generator)


def test_logprob_at_the_sampling_temperature() -> None:
    logits_BTV = torch.tensor([[REFERENCE["logits"], REFERENCE["logits"]]])
    token_ids_BT = torch.tensor([[2, REFERENCE["token"]]])
    for temperature, expected in ((1.0, REFERENCE["T=1"]), (0.7, REFERENCE["T=0.7"])):
        got_BT = logprobs.token_logprobs(logits_BTV, token_ids_BT, temperature)
        assert got_BT[0, 1].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.0])
def test_position_t_describes_token_t(temperature: float) -> None:
    logits_BTV, token_ids_BT = random_batch()
    got_BT = logprobs.token_logprobs(logits_BTV, token_ids_BT, temperature)
    assert got_BT.shape == token_ids_BT.shape
    for b, row in enumerate(token_ids_BT.tolist()):
        assert got_BT[b, 0].item() == 0.0
        for t in range(1, len(row)):
            expected = naive_logprobs(logits_BTV[b, t - 1].tolist(), temperature)[row[t]]
            assert got_BT[b, t].item() == pytest.approx(expected, abs=1e-10)


def test_the_last_logits_predict_nothing() -> None:
    logits_BTV, token_ids_BT = random_batch()
    before_BT = logprobs.token_logprobs(logits_BTV, token_ids_BT)
    logits_BTV[:, -1] = 100.0
    assert torch.equal(logprobs.token_logprobs(logits_BTV, token_ids_BT), before_BT)


def test_entropy_in_nats() -> None:
    logits = torch.tensor(REFERENCE["logits"])
    expected = REFERENCE["entropy_T=1_nats"]
    assert logprobs.entropy(logits).item() == pytest.approx(expected, abs=1e-6)
    assert logprobs.entropy(torch.zeros(8)).item() == pytest.approx(math.log(8), abs=1e-6)


def test_entropy_uses_the_temperature_and_stands_where_the_token_was_drawn() -> None:
    logits_BTV, _ = random_batch()
    got_BT = logprobs.token_entropy(logits_BTV, 0.5)
    assert got_BT.shape == logits_BTV.shape[:2]
    for b in range(logits_BTV.shape[0]):
        assert got_BT[b, 0].item() == 0.0
        for t in range(1, logits_BTV.shape[1]):
            row = naive_logprobs(logits_BTV[b, t - 1].tolist(), 0.5)
            expected = -sum(math.exp(x) * x for x in row)
            assert got_BT[b, t].item() == pytest.approx(expected, abs=1e-10)


def test_entropy_of_forbidden_tokens() -> None:
    logits = torch.tensor([0.0, 0.0, -math.inf])
    assert logprobs.entropy(logits).item() == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_give_float32_results(dtype: torch.dtype) -> None:
    logits_BTV, token_ids_BT = random_batch(dtype=torch.float32)
    logits_BTV = logits_BTV.to(dtype)
    got_BT = logprobs.token_logprobs(logits_BTV, token_ids_BT)
    expected_BT = logprobs.token_logprobs(logits_BTV.double(), token_ids_BT)
    assert got_BT.dtype == torch.float32
    assert torch.allclose(got_BT.double(), expected_BT, atol=1e-5)
    assert logprobs.entropy(logits_BTV).dtype == torch.float32


def test_extreme_logits_stay_finite() -> None:
    logits_BTV = torch.tensor([[[1e4, -1e4, 0.0], [0.0, 0.0, 0.0]]]).half()
    got_BT = logprobs.token_logprobs(logits_BTV, torch.tensor([[0, 1]]))
    assert got_BT[0, 1].item() == pytest.approx(-2e4, rel=1e-3)
    assert logprobs.entropy(logits_BTV).isfinite().all()


def test_gradient_of_token_logprobs() -> None:
    logits_BTV, token_ids_BT = random_batch(2, 3, 4)
    logits_BTV.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: logprobs.token_logprobs(x, token_ids_BT, 0.7), logits_BTV
    )


def test_zero_temperature_and_ignored_labels_are_errors() -> None:
    logits_BTV, token_ids_BT = random_batch()
    with pytest.raises(ValueError, match="temperature"):
        logprobs.token_logprobs(logits_BTV, token_ids_BT, 0.0)
    with pytest.raises(ValueError, match="temperature"):
        logprobs.entropy(logits_BTV, -1.0)
    token_ids_BT[0, 2] = -100
    with pytest.raises(IndexError):
        logprobs.token_logprobs(logits_BTV, token_ids_BT)


def test_blocks_of_rows_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last block is shorter; values, entropies and gradients equal those of one block."""
    logits_BTV, token_ids_BT = random_batch(5, 7, 13, dtype=torch.float32)
    weights_BT = torch.linspace(-1, 1, 35).view(5, 7)
    found = []
    for rows in (100, 4, 1):
        monkeypatch.setattr(logprobs, "_CPU_BLOCK", rows * 13)
        leaf_BTV = logits_BTV.bfloat16().requires_grad_()
        got_BT = logprobs.token_logprobs(leaf_BTV, token_ids_BT, 0.7)
        (got_BT * weights_BT).sum().backward()
        found.append((got_BT, leaf_BTV.grad, logprobs.token_entropy(leaf_BTV.detach(), 0.7)))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


class SpyHead(nn.Module):
    """A linear head that remembers the largest number of rows it was asked for."""

    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, vocabulary, dtype=torch.float64)
        self.rows: list[int] = []

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        self.rows.append(hidden.shape[0])
        return self.linear(hidden)


def saved_for_backward(head: SpyHead, hidden: torch.Tensor, targets: torch.Tensor) -> list[int]:
    """The elements of every tensor with a place for each token and word of the vocabulary."""
    sizes = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.shape[-1:] == (head.linear.out_features,):
            sizes[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logprobs.chunked_token_logprobs(hidden, head, targets, 1.0, chunk_size=7)
    sizes.pop(head.linear.weight.data_ptr())
    return list(sizes.values())


def test_chunked_logprobs_equal_the_direct_ones_in_value_and_gradient() -> None:
    torch.manual_seed(0)
    head = SpyHead(5, 13)
    hidden_ND = torch.randn(31, 5, dtype=torch.float64, requires_grad=True)
    targets_N = torch.randint(13, (31,))
    weight_N = torch.randn(31, dtype=torch.float64)
    inputs = (hidden_ND, head.linear.weight, head.linear.bias)

    direct_N = logprobs.logprobs_of(head(hidden_ND), targets_N, 0.7)
    direct_grads = torch.autograd.grad((direct_N * weight_N).sum(), inputs)
    head.rows.clear()
    chunked_N, entropy_N = logprobs.chunked_token_logprobs(hidden_ND, head, targets_N, 0.7, 7)
    chunked_grads = torch.autograd.grad((chunked_N * weight_N).sum(), inputs)

    assert torch.allclose(chunked_N, direct_N, atol=1e-12)
    for chunked, direct in zip(chunked_grads, direct_grads, strict=True):
        assert torch.allclose(chunked, direct, atol=1e-12)
    assert torch.allclose(entropy_N, logprobs.entropy(head(hidden_ND), 0.7), atol=1e-12)
    assert not entropy_N.requires_grad
    for chunk_size in (7, 100):
        lean_N, nothing = logprobs.chunked_token_logprobs(
            hidden_ND, head, targets_N, 0.7, chunk_size, with_entropy=False
        )
        assert torch.allclose(lean_N, direct_N, atol=1e-12)
        assert nothing is None


def test_chunked_logprobs_never_hold_all_logits() -> None:
    head = SpyHead(5, 1000)
    hidden_ND = torch.randn(31, 5, dtype=torch.float64, requires_grad=True)
    targets_N = torch.randint(1000, (31,))
    got_N, _ = logprobs.chunked_token_logprobs(hidden_ND, head, targets_N, chunk_size=7)
    got_N.sum().backward()
    # Five chunks forward, all but the last again in backward, none above 7 rows.
    assert head.rows == [3, 7, 7, 7, 7, 7, 7, 7, 3]
    # Between the two passes only the last chunk's log-softmax is kept: backward begins with it.
    assert saved_for_backward(head, hidden_ND, targets_N) == [7 * 1000]


def test_chunked_logprobs_without_gradients_and_without_tokens() -> None:
    head = SpyHead(5, 13)
    with torch.no_grad():
        got_N, _ = logprobs.chunked_token_logprobs(
            torch.randn(4, 5, dtype=torch.float64), head, torch.randint(13, (4,))
        )
        assert not got_N.requires_grad
        empty_N, _ = logprobs.chunked_token_logprobs(
            torch.zeros(0, 5, dtype=torch.float64), head, torch.zeros(0, dtype=torch.long)
        )
    assert empty_N.shape == (0,)
