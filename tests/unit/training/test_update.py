from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from instructgpt.config.shared import OptimConfig
from instructgpt.distributed.world import World
from instructgpt.errors import NonFiniteError
from instructgpt.training.optimizer import Optimizer
from instructgpt.training.update import Update


def _model():
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def _update(model, max_grad_norm=1e9):
    return Update(Optimizer(model, OptimConfig(lr=0.1)), max_grad_norm, World())


def _microbatches(model, xs, splits):
    """Mean of squares over ragged microbatches: each divides by the global count."""
    parts = torch.split(xs, splits)

    def loss(part):
        value = model(part).square().sum() / len(xs)
        return value, {"mean": value, "largest_max": model(part).max()}

    return [partial(loss, part) for part in parts]


def test_the_split_into_microbatches_changes_nothing():
    xs = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    results = []
    for splits in ([7], [1, 2, 4], [3, 3, 1]):
        model = _model()
        stats = _update(model)({"toy": _microbatches(model, xs, splits)}, 1.0)
        results.append((stats, model.weight.detach().clone()))
    for stats, weight in results[1:]:
        torch.testing.assert_close(weight, results[0][1], atol=1e-6, rtol=1e-6)
        assert stats == pytest.approx(results[0][0], rel=1e-5)


def test_groups_add_up_in_the_same_buffers():
    xs = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    model = _model()
    update = _update(model)
    gradients = {}
    update.optimizer.step = lambda factor: gradients.update({"sum": model.weight.grad.clone()})
    update({"a": _microbatches(model, xs, [4]), "b": _microbatches(model, -xs, [2, 2])}, 1.0)
    model.zero_grad()
    (model(xs).square().mean() + model(-xs).square().mean()).backward()
    torch.testing.assert_close(gradients["sum"], model.weight.grad, atol=1e-6, rtol=1e-6)


def test_group_norms_are_each_groups_own():
    xs = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    model = _model()
    groups = {"a": _microbatches(model, xs, [4]), "b": _microbatches(model, 3 * xs, [4])}
    alone = {}
    for name in groups:
        copy = _model()
        scale = 1 if name == "a" else 3
        copy(scale * xs).square().mean().backward()
        alone[name] = torch.cat([copy.weight.grad.flatten(), copy.bias.grad]).norm().item()
    stats = _update(model)(groups, 1.0, measure_groups=True)
    assert stats["a_grad_norm"] == pytest.approx(alone["a"], rel=1e-5)
    assert stats["b_grad_norm"] == pytest.approx(alone["b"], rel=1e-5)


def test_clipping_scales_the_whole_gradient():
    xs = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    model = _model()
    update = _update(model, max_grad_norm=0.01)
    seen = {}
    update.optimizer.step = lambda factor: seen.update(
        norm=torch.cat([model.weight.grad.flatten(), model.bias.grad]).norm().item()
    )
    stats = update({"toy": _microbatches(model, xs, [4])}, 1.0)
    assert stats["grad_norm"] > 0.01
    assert seen["norm"] == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("poison", ["loss", "gradient"])
def test_a_non_finite_step_moves_nothing(poison):
    model = _model()
    before = model.weight.detach().clone()

    def broken():
        value = model(torch.ones(1, 3)).sum()
        if poison == "loss":
            return value * float("nan"), {}
        return value.sub(value.detach()).sqrt().sum(), {}  # loss 0, infinite slope

    with pytest.raises(NonFiniteError, match="before any weight moved"):
        _update(model)({"toy": [broken]}, 1.0)
    assert torch.equal(model.weight, before)
    assert model.weight.grad is None
