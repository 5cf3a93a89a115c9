from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from instructgpt.config.shared import OptimConfig
from instructgpt.distributed.world import World
from instructgpt.errors import NonFiniteError
from instructgpt.models.trainable import TrainableModel
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


def test_the_norm_of_a_group_on_its_own_is_that_of_all_and_takes_no_copy(monkeypatch):
    monkeypatch.setattr(Update, "_snapshot", lambda self: pytest.fail("a copy of all gradients"))
    model = _model()
    microbatches = _microbatches(model, torch.ones(4, 3), [1, 3])
    stats = _update(model)({"a": microbatches}, 1.0, measure_groups=True)
    assert stats["a_grad_norm"] == stats["grad_norm"] > 0


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


class Layer(nn.Linear):
    device = torch.device("cpu")


class Tokenizer:
    pad_token_id = 0


class Casts(TorchDispatchMode):
    """How often something of a weight's shape became bfloat16."""

    def __init__(self, weight):
        self.shape, self.count = weight.shape, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and out.dtype == torch.bfloat16:
            self.count += out.shape == self.shape
        return out


def test_microbatches_share_the_casts_of_a_step_and_its_gradients_stay():
    """Also where one of them asks the model without gradients before another needs them."""
    model = Layer(13, 7)
    trainable = TrainableModel(model, Tokenizer(), torch.bfloat16)
    xs = torch.randn(6, 13)

    def loss(part):
        with torch.no_grad(), trainable.computing():
            asked = model(part).float().mean()
        with trainable.computing():
            return (model(part).float() - asked).square().sum(), {}

    plain = copy.deepcopy(model)
    twin = TrainableModel(plain, Tokenizer(), torch.bfloat16)
    for part in xs.split(2):
        with torch.no_grad(), twin.computing():
            asked = plain(part).float().mean()
        with twin.computing():
            (plain(part).float() - asked).square().sum().backward()
    update = _update(model)
    gradients = {}
    update.optimizer.step = lambda factor: gradients.update(weight=model.weight.grad.clone())
    with Casts(model.weight) as casts:
        update({"toy": [partial(loss, part) for part in xs.split(2)]}, 1.0)
    assert torch.equal(gradients["weight"], plain.weight.grad)
    assert casts.count == 3 + 1  # each of the three without gradients, and one for all others
    with torch.no_grad():
        model.weight.add_(1)  # the next step must see what the optimizer did
    before = gradients["weight"]
    update.optimizer.parameters[0].grad = None
    update({"toy": [partial(loss, part) for part in xs.split(2)]}, 1.0)
    assert not torch.equal(gradients["weight"], before)


def test_a_single_pass_has_the_gradients_that_it_has_outside():
    model = Layer(13, 7)
    trainable = TrainableModel(model, Tokenizer(), torch.bfloat16)
    x = torch.randn(6, 13)

    def loss():
        with trainable.computing():
            return model(x).float().square().sum(), {}

    loss()[0].backward()
    expected, model.weight.grad = model.weight.grad.clone(), None
    update = _update(model)
    gradients = {}
    update.optimizer.step = lambda factor: gradients.update(weight=model.weight.grad.clone())
    with Casts(model.weight) as casts:
        update({"toy": [loss]}, 1.0)
    assert torch.equal(gradients["weight"], expected)
    assert casts.count == 1
