from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from instructgpt.config.shared import OptimConfig
from instructgpt.training.optimizer import MovingAverage, Optimizer, lr_factor

REFERENCE = json.loads(
    (Path(__file__).parents[2] / "data" / "paper_unit_reference.json").read_text(encoding="utf-8")
)["schedules"]


def test_cosine_falls_to_ten_percent_as_published():
    config = OptimConfig(lr=9.65e-6)
    for key, value in REFERENCE["cosine_to_10pct peak=9.65e-6"].items():
        share = float(key.split("=")[1])
        assert lr_factor(round(1000 * share), 1000, config) * 9.65e-6 == pytest.approx(value)


def test_ppo_warmup_starts_at_a_tenth():
    config = OptimConfig(lr=1.0, schedule="constant", warmup_steps=10)
    for key, value in REFERENCE["ppo_warmup_10_iters(linear 0.1->1)"].items():
        assert lr_factor(int(key.split()[1]), 500, config) == pytest.approx(value)


def test_linear_reaches_its_end():
    config = OptimConfig(lr=1.0, schedule="linear", final_lr_ratio=0.0)
    assert [lr_factor(step, 4, config) for step in (0, 1, 2, 4)] == [1.0, 0.75, 0.5, 0.0]


def test_first_adam_step_is_pytorchs():
    """paper_unit_reference adam_first_step: eps is added after the bias correction."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    optimizer = Optimizer(model, OptimConfig(lr=1e-5, betas=(0.9, 0.999), eps=1e-5))
    model.weight.grad = torch.full((1, 1), 1e-6)
    optimizer.step(1.0)
    assert model.weight.item() == pytest.approx(-9.09090909090909e-07, rel=1e-4)
    assert model.weight.grad is None


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_saved_state_continues_exactly(kind):
    def train(model, optimizer, steps, start):
        for step in range(start, start + steps):
            torch.manual_seed(step)
            model(torch.randn(4, 8)).square().sum().backward()
            optimizer.step(1.0)

    def make():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
        return model, Optimizer(model, OptimConfig(lr=1e-2, optimizer=kind))

    whole, optimizer = make()
    train(whole, optimizer, 6, 0)
    first, optimizer = make()
    train(first, optimizer, 3, 0)
    second, resumed = make()
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(optimizer.state_dict())
    train(second, resumed, 3, 3)
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_moving_average_has_the_published_memory():
    parameter = nn.Parameter(torch.tensor([1.0]))
    average = MovingAverage([parameter], decay=0.992)
    with torch.no_grad():
        parameter.fill_(0.0)
    for _ in range(100):
        average.update()
    weight = REFERENCE["ema_0.992"]["weight of the initial value after 100 updates"]
    assert average.average[0].item() == pytest.approx(weight, rel=1e-4)
    average.swap()
    assert parameter.item() == pytest.approx(weight, rel=1e-4)
    average.swap()
    assert parameter.item() == 0.0


def test_an_average_without_memory_is_the_parameters_and_takes_no_copy():
    parameter = nn.Parameter(torch.ones(1))
    average = MovingAverage([parameter], decay=0.0)
    with torch.no_grad():
        parameter.fill_(3.0)
    average.update()
    average.swap()
    assert parameter.item() == 3.0
    assert average.state_dict() == {"average": []}
    average.load_state_dict({"average": []})
